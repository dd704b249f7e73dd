"""The course of the cord: its levels, their smooth centreline, and how two centrelines lie to each other.

Everything is measured in mm along the grid's own superior-inferior axis, so that the orientation of the
array, a tilt of the grid and the thickness of its slices do not matter. A *level* is one index along that
axis. A *line* is a centreline in RAS+ mm, shape (M, 3), in the order of its levels.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import KDTree

from .space import FloatArray, Grid

#: Width of the smoothing of the centreline, as the sigma of a Gaussian in mm along the cord.
SMOOTH_MM = 4.0


@dataclass(frozen=True, eq=False)
class Levels:
    """The M levels that hold cord.

    Attributes
    ----------
    axis : int
        Array axis along the cord.
    step_mm : float
        Distance between neighbouring indices.
    index : array of int, shape (M,)
        Where along the axis, ascending.
    along_mm, centre_mm : array, shape (M,) and (M, 2)
        Position along the axis, and centre in the other two: mm along the grid's axes from its first voxel.
    area_mm2 : array, shape (M,)
        Cross-section square to the cord.
    """

    axis: int
    step_mm: float
    index: NDArray[np.int64]
    along_mm: FloatArray
    centre_mm: FloatArray
    area_mm2: FloatArray

    @property
    def in_plane(self) -> list[int]:
        """The other two array axes."""
        return [a for a in range(3) if a != self.axis]


def _long_axis(grid: Grid) -> int:
    """Return the array axis nearest to superior-inferior."""
    return int(np.abs(grid.affine[2, :3] / grid.spacing_mm).argmax())


def levels_of(filled: NDArray[np.bool_], grid: Grid) -> Levels:
    """Return the levels of a mask that is not empty."""
    return levels_at(np.argwhere(filled), grid)


def levels_at(where: NDArray[np.int64], grid: Grid) -> Levels:
    """Return the levels of the voxels with these indices, shape (P, 3), P > 0."""
    axis = _long_axis(grid)
    in_plane = [a for a in range(3) if a != axis]
    spacing = grid.spacing_mm
    count = np.bincount(where[:, axis])
    index = np.flatnonzero(count)
    sums = [np.bincount(where[:, axis], weights=where[:, a])[index] for a in in_plane]
    centre = np.stack(sums, axis=-1) / count[index, None] * spacing[in_plane]
    along = index * spacing[axis]
    area = count[index] * grid.voxel_volume_mm3 / spacing[axis]
    levels = Levels(axis, float(spacing[axis]), index, along, centre, area)
    if len(index) < 3:
        return levels
    # A level cuts the cord askew: its cross-section is the cut times the cosine between cord and axis.
    slope = np.gradient(smooth(levels), along, axis=0)
    return replace(levels, area_mm2=area / np.sqrt(1 + np.minimum((slope**2).sum(axis=1), 3.0)))


def smooth(levels: Levels) -> FloatArray:
    """Return the in-plane centres after a local linear fit with a Gaussian weight in mm, shape (M, 2)."""
    along, centre = levels.along_mm, levels.centre_mm
    if len(along) < 3:
        return centre
    sigma = max(SMOOTH_MM, 0.75 * float(np.median(np.diff(along))))
    trust = np.minimum(levels.area_mm2 / np.median(levels.area_mm2), 1.0)
    offset = along[None, :] - along[:, None]
    weight = np.exp(-0.5 * (offset / sigma) ** 2) * trust
    s0, s1, s2 = weight.sum(1), (weight * offset).sum(1), (weight * offset**2).sum(1)
    t0, t1 = weight @ centre, (weight * offset) @ centre
    # The small constant keeps a level without neighbours at its own centre.
    scale = s0 * s2 - s1**2 + 1e-6 * s0**2 * sigma**2
    return np.asarray(((s2 + 1e-6 * s0 * sigma**2)[:, None] * t0 - s1[:, None] * t1) / scale[:, None])


def end_slope(along: FloatArray, centre: FloatArray, last: bool) -> FloatArray:
    """Return the in-plane direction (mm per mm) over the last or first 15 mm, limited to 45 degrees."""
    distance = along[-1] - along if last else along - along[0]
    near = distance <= 15.0
    if near.sum() < 3:
        near = distance <= np.sort(distance)[min(2, len(distance) - 1)]
    spread = along[near] - along[near].mean()
    if not (spread**2).sum() > 0:
        return np.zeros(2)
    slope = (spread[:, None] * (centre[near] - centre[near].mean(axis=0))).sum(axis=0) / (spread**2).sum()
    return np.asarray(np.clip(slope, -1.0, 1.0))


def fine(line: FloatArray) -> FloatArray:
    """Return a polyline resampled every 0.5 mm."""
    along = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(line, axis=0), axis=1))])
    steps = np.linspace(0, along[-1], max(2, int(along[-1] / 0.5) + 1))
    return np.stack([np.interp(steps, along, line[:, a]) for a in range(3)], axis=-1)


def distances_mm(points: FloatArray, line: FloatArray) -> FloatArray:
    """Return the distance of points, shape (P, 3), to the nearest point of a line."""
    return np.asarray(KDTree(line).query(points)[0])


def shared_mm(a: FloatArray, b: FloatArray) -> float:
    """Return the length in S-I that two centrelines share; negative where they are apart."""
    return float(min(a[:, 2].max(), b[:, 2].max()) - max(a[:, 2].min(), b[:, 2].min()))


def _within(points: FloatArray, line: FloatArray) -> NDArray[np.bool_]:
    return np.asarray((points[:, 2] >= line[:, 2].min()) & (points[:, 2] <= line[:, 2].max()))


def shift_between(fixed: FloatArray, moving: FloatArray) -> FloatArray:
    """Return the median shift, square to S-I, from the fixed centreline to the moving one."""
    here, other = fine(fixed), fine(moving)
    here = here[_within(here, other)]
    there = np.stack([np.interp(here[:, 2], other[:, 2], other[:, a]) for a in (0, 1)], axis=-1)
    return np.append(np.median(there - here[:, :2], axis=0), 0.0)


def distance_mm(fixed: FloatArray, moving: FloatArray, transform: FloatArray) -> float:
    """Return the mean distance between two centrelines where they run side by side.

    The transform, shape (4, 4), is applied to the fixed one first. Infinite where they do not.
    """
    moved = fine(fixed) @ transform[:3, :3].T + transform[:3, 3]
    moved = moved[_within(moved, moving)]
    return float(distances_mm(moved, fine(moving)).mean()) if len(moved) else np.inf
