"""The common space: its numbers, the slice-by-slice crop with its exact inverse, and the normalisation.

The common space is 0.5 mm isotropic along the reference's own direction cosines, ordered to nibabel LAS, and
cropped in-plane to 24 mm x 24 mm around the cord centreline, slice by slice, with the full length kept.
Only numpy is needed here, so that training and simulation share this file with the app.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

SPACING_MM = 0.5
CROP_VOXELS = 48
CROP_MM = SPACING_MM * CROP_VOXELS
AXIS_CODES = ("L", "A", "S")
#: Lesions are kept within the cord dilated by this much.
CORD_MARGIN_MM = 2.0

FloatArray = NDArray[np.floating]


@dataclass(frozen=True, eq=False)
class Grid:
    """Voxel grid: shape in voxels and affine from voxel index to RAS+ mm."""

    shape: tuple[int, int, int]
    affine: FloatArray

    @property
    def spacing_mm(self) -> FloatArray:
        """Voxel size along each axis, shape (3,)."""
        return np.asarray(np.linalg.norm(self.affine[:3, :3], axis=0))

    @property
    def voxel_volume_mm3(self) -> float:
        """Volume of one voxel."""
        return float(abs(np.linalg.det(self.affine[:3, :3])))

    def to_mm(self, index: FloatArray) -> FloatArray:
        """Map voxel indices, shape (..., 3), to RAS+ mm."""
        return np.asarray(index @ self.affine[:3, :3].T + self.affine[:3, 3])

    def to_index(self, points_mm: FloatArray) -> FloatArray:
        """Map RAS+ mm, shape (..., 3), to continuous voxel indices."""
        inverse = np.linalg.inv(self.affine)
        return np.asarray(points_mm @ inverse[:3, :3].T + inverse[:3, 3])

    def corners_mm(self) -> FloatArray:
        """Return the eight outer corners (voxel edges, not centres) in RAS+ mm, shape (8, 3)."""
        ends = [(-0.5, n - 0.5) for n in self.shape]
        index = np.array([(i, j, k) for i in ends[0] for j in ends[1] for k in ends[2]])
        return self.to_mm(index)


def crop_starts(centre_index: FloatArray) -> NDArray[np.int64]:
    """Return the first in-plane voxel of the crop in each slice.

    Parameters
    ----------
    centre_index : array, shape (N, 2)
        Cord centre in each slice, continuous in-plane voxel indices of the common grid.

    Returns
    -------
    array of int, shape (N, 2)
        May be negative or run past the grid where the cord lies near its edge: such voxels are uncovered.
    """
    return np.round(np.asarray(centre_index) - (CROP_VOXELS - 1) / 2).astype(np.int64)


def crop_index(starts: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the grid index of every crop voxel, shape (48, 48, N, 3)."""
    offsets = np.arange(CROP_VOXELS)
    n = len(starts)
    index = np.empty((CROP_VOXELS, CROP_VOXELS, n, 3), np.int64)
    index[..., 0] = offsets[:, None, None] + starts[:, 0]
    index[..., 1] = offsets[None, :, None] + starts[:, 1]
    index[..., 2] = np.arange(n)
    return index


@dataclass(frozen=True, eq=False)
class Box:
    """An array on a block of a grid: the crop laid out straight again."""

    array: NDArray[np.generic]
    grid: Grid


def uncrop(crop: NDArray[np.generic], starts: NDArray[np.int64], grid: Grid, margin: int = 0) -> Box:
    """Lay a crop, shape (48, 48, N), back into the smallest block of ``grid`` that holds it.

    Every crop voxel lands on the grid voxel that it came from; voxels that no slice covers are zero.

    Parameters
    ----------
    crop : array, shape (48, 48, N)
    starts : array of int, shape (N, 2)
    grid : Grid
        The uncropped common grid.
    margin : int
        Zero voxels added around the block in-plane and along the cord.
    """
    low = np.append(starts.min(axis=0), 0) - margin
    high = np.append(starts.max(axis=0) + CROP_VOXELS, len(starts)) + margin
    array = np.zeros(tuple(high - low), crop.dtype)
    index = crop_index(starts) - low
    array[index[..., 0], index[..., 1], index[..., 2]] = crop
    affine = grid.affine.copy()
    affine[:3, 3] = grid.to_mm(low)
    return Box(array, Grid((int(array.shape[0]), int(array.shape[1]), int(array.shape[2])), affine))


def normalise(image: FloatArray, coverage: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Z-score over the covered voxels; uncovered voxels become 0, a constant image stays 0."""
    result = np.zeros(image.shape, np.float32)
    if not coverage.any():
        return result
    values = image[coverage].astype(np.float64)
    spread = values.std()
    if spread > 0:
        result[coverage] = (values - values.mean()) / spread
    return result
