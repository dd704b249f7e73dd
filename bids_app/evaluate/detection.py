"""From lesions to curves and rates: FROC, recall by size and by level, participants with any lesion."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .lesionwise import PREDICTION, REFERENCE, LesionRow
from .statistics import Values

#: False positives per image at which FROC sensitivity is averaged (MS-Multi-Spine).
FALSE_PER_IMAGE = (0.25, 0.5, 1.0, 2.0, 3.0)
#: Limits between sizes of lesions, mm3.
SIZES_MM3 = (0.0, 10.0, 30.0, 100.0, 300.0, float("inf"))


@dataclass(frozen=True, eq=False)
class Froc:
    """Sensitivity over false positives per image, as the least probability of a lesion falls; rule ``iou20``."""

    false_per_image: Values
    sensitivity: Values

    @property
    def score(self) -> float:
        """Mean sensitivity at `FALSE_PER_IMAGE`; where the method marks too little to get there, its highest counts on."""
        return float(np.mean([self.at(rate) for rate in FALSE_PER_IMAGE]))

    def at(self, rate: float) -> float:
        """Return the highest sensitivity at up to ``rate`` false positives per image."""
        reached = self.sensitivity[self.false_per_image <= rate]
        return float(reached.max()) if len(reached) else 0.0


def froc(lesions: Sequence[LesionRow], images: int) -> Froc | None:
    """Return the curve, or None where the method gave no probabilities or there is no reference lesion."""
    reference = [row for row in lesions if row.side == REFERENCE]
    predicted = [row for row in lesions if row.side == PREDICTION]
    if not reference or not predicted or not all(np.isfinite(row.probability) for row in predicted):
        return None
    hits = np.array([row.probability for row in reference if row.found_iou20])
    false = np.array([row.probability for row in predicted if not row.found_iou20])
    limits = np.unique(np.concatenate([hits, false]))[::-1]
    wrong = np.array([0.0, *(float((false >= limit).sum()) / images for limit in limits)])
    right = np.array([0.0, *(float((hits >= limit).sum()) / len(reference) for limit in limits)])
    return Froc(wrong, right)


def recall_by_size(lesions: Sequence[LesionRow]) -> list[tuple[str, int, int]]:
    """Return name, lesions and found lesions of each range of volume; rule ``iou20``."""
    result = []
    for low, high in itertools.pairwise(SIZES_MM3):
        own = [row for row in lesions if row.side == REFERENCE and low < row.volume_mm3 <= high]
        name = f"over {low:g} mm3" if np.isinf(high) else f"{low:g} to {high:g} mm3"
        result.append((name, len(own), sum(row.found_iou20 for row in own)))
    return result


def recall_by_level(lesions: Sequence[LesionRow]) -> list[tuple[str, int, int]]:
    """Return level, lesions and found lesions; nothing where no levels are known."""
    own = [row for row in lesions if row.side == REFERENCE and row.level]
    order = {f"{letter}{n}": (place, n) for place, letter in enumerate("CTLS") for n in range(1, 13)}
    names = sorted({row.level for row in own}, key=lambda name: order.get(name, (9, 0)))
    return [
        (
            name,
            sum(row.level == name for row in own),
            sum(row.found_iou20 for row in own if row.level == name),
        )
        for name in names
    ]


@dataclass(frozen=True)
class Participants:
    """Who has any lesion, by the reference and by the prediction: numbers of participants."""

    true_positive: int
    false_negative: int
    true_negative: int
    false_positive: int

    @property
    def sensitivity(self) -> float:
        """Share of the participants with lesions in whom any is marked; NaN where there are none."""
        ill = self.true_positive + self.false_negative
        return self.true_positive / ill if ill else float("nan")

    @property
    def specificity(self) -> float:
        """Share of the lesion-free participants in whom nothing is marked; NaN where there are none."""
        free = self.true_negative + self.false_positive
        return self.true_negative / free if free else float("nan")


def participants(marked: Sequence[tuple[str, bool, bool]]) -> Participants:
    """Count participants from images: (participant, reference has a lesion, prediction has one)."""
    truth: dict[str, bool] = {}
    found: dict[str, bool] = {}
    for name, has, marks in marked:
        truth[name] = truth.get(name, False) or has
        found[name] = found.get(name, False) or marks
    pairs = [(truth[name], found[name]) for name in truth]
    return Participants(
        *(pairs.count(one) for one in ((True, True), (True, False), (False, False), (False, True)))
    )
