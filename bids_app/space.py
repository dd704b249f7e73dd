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
#: What `relative_to_cord` needs of the cord (6 mm3), and the limits of its result.
LEAST_CORD_VOXELS = 50
#: What the lesion model sees of the crop in plane, in voxels: 20 mm from side to side and 16 mm from back to front.
NARROW = (40, 32)
RELATIVE_LIMITS = (-1.0, 3.0)
#: 26-connectivity: voxels that share a face, an edge or a corner belong together.
CONNECTED = np.ones((3, 3, 3), bool)

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

    def index_matrix(self, target: Grid, transform: FloatArray | None = None) -> FloatArray:
        """Return the 4 x 4 matrix from voxel indices here to continuous voxel indices of another grid.

        Rounded to 6 digits (a thousandth of a voxel over a large image): affines of one image that is stored in several ways
        differ by less, and no result may hang on that.

        Parameters
        ----------
        target : Grid
        transform : array, shape (4, 4), optional
            From mm here to mm there.
        """
        through = self.affine if transform is None else transform @ self.affine
        return np.asarray(np.round(np.linalg.inv(target.affine) @ through, 6) + 0.0)

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
    # Twice: a centre halfway between two voxels must not be decided by its last digit.
    start = np.round(np.asarray(centre_index) - (CROP_VOXELS - 1) / 2, 3)
    return np.round(start).astype(np.int64)


def crop_index(starts: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the grid index of every crop voxel, shape (48, 48, N, 3)."""
    offsets = np.arange(CROP_VOXELS)
    n = len(starts)
    index = np.empty((CROP_VOXELS, CROP_VOXELS, n, 3), np.int64)
    index[..., 0] = offsets[:, None, None] + starts[:, 0]
    index[..., 1] = offsets[None, :, None] + starts[:, 1]
    index[..., 2] = np.arange(n)
    return index


def around_cord(cord: FloatArray, shift: tuple[int, int] = (0, 0)) -> tuple[slice, slice]:
    """Return the part of a crop that the lesion model sees, `NARROW` around the cord's middle: half of the work.

    Parameters
    ----------
    cord : array, shape (X, Y, Z)
        Probability or mask; the part lies in the middle where it is empty.
    shift : tuple of int
        Voxels by which the part is off the middle.
    """
    part = []
    for axis, size in enumerate(NARROW):
        length = cord.shape[axis]
        mass = cord.sum(axis=tuple(n for n in range(3) if n != axis))
        middle = float((mass * np.arange(length)).sum() / mass.sum()) if mass.any() else (length - 1) / 2
        start = round(middle - (size - 1) / 2) + shift[axis]
        start = min(max(0, start), max(0, length - size))
        part.append(slice(start, min(length, start + size)))
    return part[0], part[1]


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


def relative_to_cord(
    image: FloatArray, coverage: NDArray[np.bool_], cord: FloatArray
) -> NDArray[np.float32] | None:
    """Express an image as its relative difference to the median of the cord: a lesion 30 % brighter than the cord becomes 0.3.

    Unlike a z-score, the result does not depend on how bright the fluid is or how much of it the crop holds.

    Parameters
    ----------
    image : array
        Signal whose zero means no signal, see `bids_app.signal`.
    coverage : array of bool, same shape
    cord : array, same shape
        Inside from 0.5.

    Returns
    -------
    array, float32, or None
        Clipped to `RELATIVE_LIMITS`, 0 where not covered. None where the image shows fewer than `LEAST_CORD_VOXELS` of the
        cord, or no signal in it.
    """
    inside = coverage & (cord >= 0.5)
    if int(inside.sum()) < LEAST_CORD_VOXELS:
        return None
    level = float(np.median(image[inside]))
    if level <= 0:
        return None
    relative = np.clip(image / level - 1, *RELATIVE_LIMITS)
    return np.asarray(np.where(coverage, relative, 0), np.float32)


def intensities(
    kind: str, image: FloatArray, coverage: NDArray[np.bool_], cord: FloatArray
) -> NDArray[np.float32] | None:
    """Return an image as a network wants it: ``cord`` for `relative_to_cord`, ``zscore`` for `normalise`.

    None where the image shows fewer than `LEAST_CORD_VOXELS` of the cord.
    """
    if kind == "cord":
        return relative_to_cord(image, coverage, cord)
    if int((coverage & (cord >= 0.5)).sum()) < LEAST_CORD_VOXELS:
        return None
    return normalise(image, coverage)
