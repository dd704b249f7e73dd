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

#: 26-connectivity, and 6-connectivity.
CONNECTED = np.ones((3, 3, 3), int)
FACES = ndimage.generate_binary_structure(3, 1)
LEAST_IOU = 0.2
LEAST_OVERLAP = 0.25
ANIMA_ALPHA, ANIMA_BETA, ANIMA_GAMMA, ANIMA_LEAST_MM3 = 0.10, 0.70, 0.65, 3.0

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
    return np.asarray(shared >= LEAST_IOU * (size_r[:, None] + size_p[None, :] - shared))


def count_overlap25(prediction: Mask, reference: Mask, voxel_mm3: float = 1.0) -> Counts:
    """Count lesions by the rule ``overlap25``."""
    del voxel_mm3
    table = overlaps(prediction, reference, CONNECTED)
    covered_r = table[1:, 1:].sum(axis=1) > LEAST_OVERLAP * table[1:].sum(axis=1)
    covered_p = table[1:, 1:].sum(axis=0) > LEAST_OVERLAP * table[:, 1:].sum(axis=0)
    return _counts(covered_r, covered_p)


def count_anima(prediction: Mask, reference: Mask, voxel_mm3: float = 1.0) -> Counts:
    """Count lesions by the rule ``anima``; ``voxel_mm3`` is the volume of a voxel."""
    table = overlaps(_without_small(prediction, voxel_mm3), _without_small(reference, voxel_mm3), FACES)
    return _counts(_explained(table), _explained(table.T))


def _explained(table: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Say which lesions of the rows the lesions of the columns detect."""
    found = np.zeros(len(table) - 1, bool)
    size_columns = table.sum(axis=0)
    for row in range(1, len(table)):
        shared = table[row, 1:]
        total = int(shared.sum())
        if total <= ANIMA_ALPHA * table[row].sum():
            continue
        explained, good = 0, True
        for column in np.argsort(-shared, kind="stable"):
            good = table[0, column + 1] <= ANIMA_BETA * size_columns[column + 1]
            explained += int(shared[column])
            if not good or explained >= ANIMA_GAMMA * total:
                break
        found[row - 1] = good
    return found


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
