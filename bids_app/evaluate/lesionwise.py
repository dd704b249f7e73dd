"""One row a lesion of either side: how large it is, where it lies, how probable it was, and which rule counts it as found."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from ..space import CONNECTED
from .scores import Mask, covered_overlap25, hits_iou20, overlaps

REFERENCE, PREDICTION = "reference", "prediction"


@dataclass(frozen=True)
class LesionRow:
    """One lesion, a 26-connected component.

    Attributes
    ----------
    side : str
        ``reference`` or ``prediction``.
    centre : tuple of 3 floats
        Centre of mass, voxel index.
    level : str
        Vertebral level at the nearest labelled voxel; empty where there are no labels.
    probability : float
        Highest probability inside; of a reference lesion, that of the most probable predicted lesion that hits it by IoU.
        NaN where the method gave none, or none hits.
    best_iou : float
        With a single lesion of the other side.
    found_iou20, found_overlap25 : bool
        A predicted lesion is "found" where it is right.
    """

    side: str
    number: int
    volume_mm3: float
    centre: tuple[float, float, float]
    level: str
    probability: float
    best_iou: float
    found_iou20: bool
    found_overlap25: bool


def lesion_rows(
    prediction: Mask,
    reference: Mask,
    voxel_mm3: float,
    probability: NDArray[np.float32] | None = None,
    levels: NDArray[np.int32] | None = None,
) -> list[LesionRow]:
    """Return the rows of one pair of masks, those of the reference first.

    Parameters
    ----------
    probability : array, shape of the masks, optional
        Of the lesion that each predicted voxel belongs to.
    levels : array, shape of the masks, optional
        Vertebral levels, 0 for none.
    """
    table = overlaps(prediction, reference, CONNECTED)
    hits = hits_iou20(table)
    sizes = table.sum(axis=1)[1:, None] + table.sum(axis=0)[None, 1:] - table[1:, 1:]
    iou = table[1:, 1:] / np.maximum(sizes, 1)
    peaks = _peaks(prediction, probability)
    best = np.where(hits, peaks[None, :], -np.inf).max(axis=1, initial=-np.inf)
    rows = _side(REFERENCE, reference, table, np.where(np.isfinite(best), best, np.nan), iou, hits, voxel_mm3)
    rows += _side(PREDICTION, prediction, table.T, peaks, iou.T, hits.T, voxel_mm3)
    if levels is None or not (levels > 0).any():
        return rows
    names = levels_at(levels, np.array([row.centre for row in rows]).reshape(-1, 3))
    return [LesionRow(**{**vars(row), "level": name}) for row, name in zip(rows, names, strict=True)]


def _peaks(prediction: Mask, probability: NDArray[np.float32] | None) -> NDArray[np.float64]:
    labels, count = ndimage.label(prediction, CONNECTED)
    if probability is None or not count:
        return np.full(count, np.nan)
    return np.asarray(ndimage.maximum(probability, labels, np.arange(1, count + 1)), float)


def _side(
    side: str,
    mask: Mask,
    table: NDArray[np.int64],
    probability: NDArray[np.float64],
    iou: NDArray[np.float64],
    hits: NDArray[np.bool_],
    voxel_mm3: float,
) -> list[LesionRow]:
    labels, count = ndimage.label(mask, CONNECTED)
    if not count:
        return []
    index = np.arange(1, count + 1)
    sizes = table.sum(axis=1)[1:]
    covered = covered_overlap25(table)
    centres = ndimage.center_of_mass(mask, labels, index)
    best = iou.max(axis=1, initial=0.0)
    return [
        LesionRow(
            side,
            int(n),
            float(sizes[n - 1] * voxel_mm3),
            (float(centres[n - 1][0]), float(centres[n - 1][1]), float(centres[n - 1][2])),
            "",
            float(probability[n - 1]),
            float(best[n - 1]),
            bool(hits[n - 1].any()),
            bool(covered[n - 1]),
        )
        for n in index
    ]


def levels_at(levels: NDArray[np.int32], points: NDArray[np.float64]) -> list[str]:
    """Return the level at the labelled voxel nearest to each point, shape (N, 3) voxel index; C1 is 1, T1 is 8."""
    from scipy.spatial import cKDTree

    where = np.argwhere(levels > 0)
    _, nearest = cKDTree(where).query(points)
    return [level_name(int(levels[tuple(where[n])])) for n in np.atleast_1d(nearest)]


def level_name(number: int) -> str:
    """Return the name of a vertebral level in the numbering of the Spinal Cord Toolbox."""
    for letter, first, last in (("C", 1, 7), ("T", 8, 19), ("L", 20, 24), ("S", 25, 29)):
        if first <= number <= last:
            return f"{letter}{number - first + 1}"
    return str(number)
