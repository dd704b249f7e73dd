"""Scores of one predicted lesion mask against one reference mask.

Lesions are counted by three rules that give different numbers; a score is always named with its rule.

``iou20``
    MS-Multi-Spine challenge: found where any lesion of the other side has an IoU of at least 0.2; 26-connectivity.
``overlap25``
    Walsh's group, 2022: found where more than 25 % of its voxels are covered by the other side; 26-connectivity.
``anima``
    MSSEG 2016 (Commowick et al. 2018, DOI 10.1038/s41598-018-31911-7): components up to 3 mm3 are dropped in both; found
    where more than 10 % is covered and the components of the other side that explain 65 % of that each lie at most
    70 % outside; 6-connectivity.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from ..space import CONNECTED

#: 6-connectivity.
FACES = ndimage.generate_binary_structure(3, 1)
#: In percent, so that counts of voxels are compared as integers: 63 of 90 is not above 70 %.
IOU_PERCENT = 20
OVERLAP_PERCENT = 25
ANIMA_ALPHA, ANIMA_BETA, ANIMA_GAMMA = 10, 70, 65
ANIMA_LEAST_MM3 = 3.0

Mask = NDArray[np.bool_]


def dice(prediction: Mask, reference: Mask) -> float:
    """Return the Dice coefficient; 1 where both masks are empty, 0 where one is."""
    total = int(prediction.sum()) + int(reference.sum())
    return 2 * int((prediction & reference).sum()) / total if total else 1.0


def sensitivity(prediction: Mask, reference: Mask) -> float:
    """Return the share of reference voxels that are predicted; 1 where there are none."""
    return float((prediction & reference).sum() / reference.sum()) if reference.any() else 1.0


def precision(prediction: Mask, reference: Mask) -> float:
    """Return the share of predicted voxels that are right; 1 where there are none."""
    return sensitivity(reference, prediction)


class Counts(NamedTuple):
    """Lesions of the reference that were ``found`` or ``missed``, and predicted ones that are ``right`` or ``wrong``."""

    found: int
    missed: int
    right: int
    wrong: int

    def __add__(self, other: tuple[int, ...]) -> Counts:  # type: ignore[override]
        return Counts(*(a + b for a, b in zip(self, other, strict=True)))

    @property
    def recall(self) -> float:
        """Share of reference lesions that were found; 1 where there are none."""
        return self.found / (self.found + self.missed) if self.found + self.missed else 1.0

    @property
    def precision(self) -> float:
        """Share of predicted lesions that are right; 1 where there are none."""
        return self.right / (self.right + self.wrong) if self.right + self.wrong else 1.0

    @property
    def f1(self) -> float:
        """Harmonic mean of recall and precision; 1 where neither side has a lesion, 0 where one side has none."""
        if not sum(self):
            return 1.0
        if self.found + self.missed == 0 or self.right + self.wrong == 0:
            return 0.0
        total = self.recall + self.precision
        return 2 * self.recall * self.precision / total if total else 0.0


def overlaps(prediction: Mask, reference: Mask, structure: NDArray[np.generic]) -> NDArray[np.int64]:
    """Return voxels shared by every reference lesion (rows) and predicted lesion (columns); row and column 0 are background."""
    labels_p, count_p = ndimage.label(prediction, structure)
    labels_r, count_r = ndimage.label(reference, structure)
    pairs = labels_r.ravel().astype(np.int64) * (count_p + 1) + labels_p.ravel()
    table = np.bincount(pairs, minlength=(count_r + 1) * (count_p + 1))
    return table.reshape(count_r + 1, count_p + 1)


def count_iou20(prediction: Mask, reference: Mask, voxel_mm3: float = 1.0) -> Counts:
    """Count lesions by the rule ``iou20``. One predicted lesion may serve several reference lesions, and the other way round."""
    del voxel_mm3
    table = overlaps(prediction, reference, CONNECTED)
    hit = hits_iou20(table)
    return _counts(np.asarray(hit.any(axis=1)), np.asarray(hit.any(axis=0)))


def hits_iou20(table: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Say which reference lesions (rows) and predicted ones (columns) have an IoU of at least 0.2, from `overlaps`."""
    size_r, size_p = table.sum(axis=1)[1:], table.sum(axis=0)[1:]
    shared = table[1:, 1:]
    return np.asarray(100 * shared >= IOU_PERCENT * (size_r[:, None] + size_p[None, :] - shared))


def covered_overlap25(table: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Say which lesions of the rows are covered by more than 25 %, from `overlaps`."""
    return np.asarray(100 * table[1:, 1:].sum(axis=1) > OVERLAP_PERCENT * table[1:].sum(axis=1))


def count_overlap25(prediction: Mask, reference: Mask, voxel_mm3: float = 1.0) -> Counts:
    """Count lesions by the rule ``overlap25``."""
    del voxel_mm3
    table = overlaps(prediction, reference, CONNECTED)
    return _counts(covered_overlap25(table), covered_overlap25(table.T))


def count_anima(prediction: Mask, reference: Mask, voxel_mm3: float = 1.0) -> Counts:
    """Count lesions by the rule ``anima``; ``voxel_mm3`` is the volume of a voxel."""
    table = overlaps(_without_small(prediction, voxel_mm3), _without_small(reference, voxel_mm3), FACES)
    return _counts(_explained(table), _explained(table.T))


def _explained(table: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Say which lesions of the rows the lesions of the columns detect."""
    shared = table[1:, 1:]
    total = shared.sum(axis=1)
    # Those that share most with a row come first; the ones that it takes to explain enough of it must all be good.
    order = np.argsort(-shared, axis=1, kind="stable")
    ordered = np.take_along_axis(shared, order, axis=1)
    before = np.cumsum(ordered, axis=1) - ordered
    needed = 100 * before < ANIMA_GAMMA * total[:, None]
    good = 100 * table[0, 1:] <= ANIMA_BETA * table[:, 1:].sum(axis=0)
    return np.asarray(
        (100 * total > ANIMA_ALPHA * table[1:].sum(axis=1)) & (good[order] | ~needed).all(axis=1)
    )


def _without_small(mask: Mask, voxel_mm3: float) -> Mask:
    labels, _ = ndimage.label(mask, FACES)
    large = np.bincount(labels.ravel()) * voxel_mm3 > ANIMA_LEAST_MM3 + 1e-9
    large[0] = False
    return np.asarray(large[labels])


def _counts(found: NDArray[np.bool_], right: NDArray[np.bool_]) -> Counts:
    return Counts(int(found.sum()), int((~found).sum()), int(right.sum()), int((~right).sum()))


#: The rules by name; each takes prediction, reference and the volume of a voxel in mm3.
RULES: dict[str, Callable[[Mask, Mask, float], Counts]] = {
    "iou20": count_iou20,
    "overlap25": count_overlap25,
    "anima": count_anima,
}
