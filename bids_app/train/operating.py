"""Choose threshold and smallest volume of the lesion model, on simulated validation samples that training never saw."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage

from .. import space
from ..evaluate.scores import CONNECTED, lesion_counts_iou
from ..model.network import MultiSequenceNet
from ..simulate.draw import Draw
from ..simulate.patches import make_patch
from .samples import lesion_example

THRESHOLDS = (0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8)
VOLUMES_MM3 = (0.0, 3.0, 6.0, 10.0, 15.0)
#: False lesions that are tolerated in a lesion-free sample of 32 mm.
MOST_FALSE = 0.05
#: Training samples have seeds from 0 upwards in steps far below this.
FIRST_SEED = 5_000_000_000


@dataclass(frozen=True)
class Point:
    """One setting and what it gave on the validation samples.

    ``false_per_sample`` counts false lesions in samples without any lesion.
    """

    threshold: float
    minimum_volume_mm3: float
    lesion_f1: float
    false_per_sample: float


def choose(network: MultiSequenceNet, samples: int) -> dict[str, object]:
    """Return the operating point for the model card, with the table that it was chosen from.

    The setting with the highest lesion F1 (IoU of at least 0.2) among those with few false lesions in samples without
    a lesion; where none is that quiet, the quietest.
    """
    maps = [predict(network, FIRST_SEED + number) for number in range(samples)]
    points = [measure(maps, threshold, volume) for threshold in THRESHOLDS for volume in VOLUMES_MM3]
    quiet = [point for point in points if point.false_per_sample <= MOST_FALSE]
    best = (
        max(quiet, key=lambda point: point.lesion_f1)
        if quiet
        else min(points, key=lambda point: point.false_per_sample)
    )
    return {
        "threshold": best.threshold,
        "minimum_volume_mm3": best.minimum_volume_mm3,
        "chosen_on": f"{samples} simulated samples of 32 mm that training did not see",
        "lesion_f1_iou20_simulated": round(best.lesion_f1, 4),
        "false_lesions_per_lesion_free_sample_simulated": round(best.false_per_sample, 4),
    }


def predict(network: MultiSequenceNet, seed: int) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Return probability within the cord's zone, and the lesions that the shown sequences show, for one sample."""
    patch = make_patch(seed)
    example = lesion_example([patch], Draw(seed + 1), visible_only=True)
    with torch.inference_mode():
        probability = torch.sigmoid(network(example.batch)[0, 0]).numpy()
    cord = example.target[0, 1].numpy() >= 0.5
    zone = ndimage.distance_transform_edt(~cord, sampling=space.SPACING_MM) <= space.CORD_MARGIN_MM
    seen = example.seen[0, 0].numpy() > 0
    return probability * zone * seen, example.target[0, 0].numpy() > 0.5


def measure(
    maps: Sequence[tuple[NDArray[np.float32], NDArray[np.bool_]]], threshold: float, volume_mm3: float
) -> Point:
    """Return what one setting gives."""
    totals = np.zeros(4, int)
    false, free = 0, 0
    for probability, lesion in maps:
        found = _large(probability >= threshold, volume_mm3)
        counts = lesion_counts_iou(found, lesion)
        totals += counts
        if not lesion.any():
            free += 1
            false += counts[3]
    hit, missed, right, wrong = (int(value) for value in totals)
    recall = hit / max(1, hit + missed)
    precision = right / max(1, right + wrong)
    f1 = 2 * recall * precision / (recall + precision) if recall + precision else 0.0
    return Point(threshold, volume_mm3, f1, false / max(1, free))


def _large(mask: NDArray[np.bool_], volume_mm3: float) -> NDArray[np.bool_]:
    labels, _ = ndimage.label(mask, CONNECTED)
    sizes = np.bincount(labels.ravel()) * space.SPACING_MM**3
    keep = sizes >= volume_mm3
    keep[0] = False
    return np.asarray(keep[labels])
