"""Where a lesion lies in the cross-section of the cord, and how far down: by the cord mask alone, without an atlas."""

from __future__ import annotations

from collections import Counter

import numpy as np
from numpy.typing import NDArray

from . import space
from .space import FloatArray

#: Part of the cord's half-width within which a lesion is neither left nor right, neither in front nor behind.
MIDDLE = 0.25


def of_lesion(inside: NDArray[np.bool_], cord: FloatArray) -> tuple[str, str]:
    """Return side and column of a lesion; empty where the slices of the lesion show no cord.

    The column is that of most of its voxels, the side that of most of these.

    The distance from the cord's centre is taken relative to the cord's half-width and half-depth in the slice. The angle
    then decides: 45 degrees around the back are ``posterior``, around the front ``anterior``, the rest ``lateral``.

    Parameters
    ----------
    inside : array of bool, shape (X, Y, N)
        The lesion, in a crop in LAS order.
    cord : array, shape (X, Y, N)
        Inside from 0.5.
    """
    found: Counter[tuple[str, str]] = Counter()
    for level in np.flatnonzero(inside.any(axis=(0, 1))):
        mask = np.argwhere(cord[..., level] >= 0.5)
        if len(mask):
            half = np.maximum((np.ptp(mask, axis=0) + 1) / 2, 1)
            left, ahead = ((np.argwhere(inside[..., level]) - mask.mean(axis=0)) / half).T
            columns = _columns(left, ahead)
            # What is lateral is on one side, however near to the middle.
            nearest = np.where(columns == "lateral", 0, MIDDLE)
            # The first axis runs to the left, the second to the front.
            sides = np.where(left > nearest, "left", np.where(left < -nearest, "right", "midline"))
            found.update(zip(sides.tolist(), columns.tolist(), strict=True))
    if not found:
        return "", ""
    of_column: Counter[str] = Counter()
    for (_, column), voxels in found.items():
        of_column[column] += voxels
    column = of_column.most_common(1)[0][0]
    return max((pair for pair in found if pair[1] == column), key=lambda pair: found[pair])


def from_top_mm(inside: NDArray[np.bool_], cord: FloatArray, starts: NDArray[np.int64]) -> float | None:
    """Return the length of cord (its centreline) above a lesion's middle slice, mm; None where there is no cord.

    Parameters
    ----------
    inside, cord
        As in `of_lesion`; slices run from the bottom up.
    starts : array of int, shape (N, 2)
        The crop's first voxel in each slice of the common grid.
    """
    mask = cord >= 0.5
    levels = np.flatnonzero(mask.any(axis=(0, 1)))
    if not len(levels):
        return None
    centre = np.array([np.argwhere(mask[..., level]).mean(axis=0) + starts[level] for level in levels])
    points = np.column_stack([centre, levels]) * space.SPACING_MM
    along = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(_smooth(points), axis=0), axis=1))])
    middle = (inside.any(axis=(0, 1)) * np.arange(inside.shape[2])).sum() / inside.any(axis=(0, 1)).sum()
    return float(along[-1] - np.interp(middle, levels, along))


def _columns(left: FloatArray, ahead: FloatArray) -> NDArray[np.str_]:
    upright = np.abs(ahead) >= np.abs(left)
    ends = np.where(ahead < 0, "posterior", "anterior")
    return np.where(np.hypot(left, ahead) < MIDDLE, "central", np.where(upright, ends, "lateral"))


def _smooth(points: FloatArray) -> FloatArray:
    """Return points averaged over 10 mm along the cord: steps of voxels would lengthen the line."""
    width = min(round(10 / space.SPACING_MM), len(points))
    kernel = np.ones(width) / np.convolve(np.ones(len(points)), np.ones(width), "same")[:, None]
    summed = np.column_stack([np.convolve(column, np.ones(width), "same") for column in points[:, :2].T])
    return np.column_stack([summed * kernel[:, :1], points[:, 2]])
