"""What settings give on samples that training never saw."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage

from .. import space
from ..evaluate.scores import Counts, hits_iou20, overlaps
from ..model.network import MultiSequenceNet
from ..operating import Operating
from ..segment import cord_zone
from ..simulate.draw import Draw
from ..simulate.patches import Patch
from .methods import METHODS, Dropout, t2sag_alone
from .samples import Keep, lesion_example

THRESHOLDS = (0.2, 0.3, 0.4, 0.5, 0.6)
MEANS = (0.0, *(round(0.5 + 0.02 * step, 2) for step in range(24)))
VOLUMES_MM3 = (0.0, 3.0, 6.0, 10.0)


@dataclass(frozen=True)
class Point:
    """One setting and what it gave on validation samples.

    Attributes
    ----------
    counts : Counts
    false : int
        False lesions in samples without any lesion.
    samples, free : int
        How many there are, and how many of them have no lesion.
    real : int
        False lesions in real scans without lesions.
    """

    setting: Operating
    counts: Counts
    false: int
    samples: int
    free: int
    real: int = 0

    @property
    def false_per_sample(self) -> float:
        """False lesions in a lesion-free sample."""
        return self.false / max(1, self.free)


@dataclass(frozen=True, eq=False)
class Components:
    """What one threshold leaves of one probability map.

    Attributes
    ----------
    overlap : array, shape (reference lesions + 1, components + 1)
        Shared voxels; row and column 0 are background.
    mean : array, shape (components,)
        Mean probability.
    """

    overlap: NDArray[np.int64]
    mean: NDArray[np.float32]

    def count(self, least_mean: float, minimum_mm3: float) -> Counts:
        """Count by the rule ``iou20`` the components that a setting keeps."""
        volume_mm3 = self.overlap.sum(axis=0)[1:] * space.SPACING_MM**3
        kept = (self.mean >= least_mean) & (volume_mm3 >= minimum_mm3)
        hit = hits_iou20(self.overlap)[:, kept]
        found, right = int(hit.any(axis=1).sum()), int(hit.any(axis=0).sum())
        return Counts(found, len(hit) - found, right, hit.shape[1] - right)


@dataclass(frozen=True, eq=False)
class Map:
    """One validation sample.

    Attributes
    ----------
    probability : array, shape (X, Y, Z)
        Within the cord's zone.
    lesion : array, shape (X, Y, Z), bool
        Lesions that the shown sequences show.
    several : bool
        Whether two or more sequences cover most of the cord's zone.
    """

    probability: NDArray[np.float32]
    lesion: NDArray[np.bool_]
    several: bool = False

    @property
    def free(self) -> bool:
        """Whether there is no lesion."""
        return not self.lesion.any()


def together(points: Sequence[Point]) -> Point:
    """Return the point of all samples of several groups."""
    return Point(
        points[0].setting,
        sum((point.counts for point in points), Counts(0, 0, 0, 0)),
        sum(point.false for point in points),
        sum(point.samples for point in points),
        sum(point.free for point in points),
        sum(point.real for point in points),
    )


def shown_by(method: str) -> Keep:
    """Return what a method's samples show in validation."""
    return t2sag_alone if METHODS[method].t2sag_only else Dropout()


def predict(network: MultiSequenceNet, patch: Patch, seed: int, keep: Keep) -> Map:
    """Return what a network makes of one sample."""
    example = lesion_example([patch], Draw(seed + 1), keep, True, network.config.intensity)
    device = next(network.parameters()).device
    with torch.inference_mode():
        probability = torch.sigmoid(network(example.to(device).batch)[0, 0]).float().cpu().numpy()
    zone = cord_zone(example.target[0, 1].numpy()) & (example.weight[0, 1].numpy() > 0)
    covering = example.batch.coverage[:, 0].numpy().sum(axis=0)[zone]
    several = bool(covering.size and np.median(covering) > 1)
    return Map(probability * zone, example.target[0, 0].numpy() > 0.5, several)


def measure(maps: Sequence[Map]) -> list[Point]:
    """Return what every setting gives."""
    free = [one.free for one in maps]
    points = []
    for threshold in THRESHOLDS:
        cut = [components(one.probability, one.lesion, threshold) for one in maps]
        for mean, volume in itertools.product(MEANS, VOLUMES_MM3):
            counts = [one.count(mean, volume) for one in cut]
            false = sum(count.wrong for count, empty in zip(counts, free, strict=True) if empty)
            points.append(
                Point(
                    Operating(threshold, volume, mean, mean),
                    sum(counts, Counts(0, 0, 0, 0)),
                    false,
                    len(maps),
                    sum(free),
                )
            )
    return points


def components(probability: NDArray[np.float32], lesion: NDArray[np.bool_], threshold: float) -> Components:
    """Cut a map at a threshold."""
    mask = probability >= threshold
    labels, count = ndimage.label(mask, space.CONNECTED)
    mean = ndimage.mean(probability, labels, np.arange(1, count + 1)) if count else np.zeros(0)
    return Components(overlaps(mask, lesion, space.CONNECTED), np.asarray(mean, np.float32))


def voxel_dice(network: MultiSequenceNet, patches: Sequence[Patch], keep: Keep) -> float:
    """Return the Dice of all patches' voxels together at a threshold of 0.5: the score of validation during training."""
    shared, total = 0, 0
    for number, patch in enumerate(patches):
        one = predict(network, patch, number, keep)
        found = one.probability >= 0.5
        shared += int((found & one.lesion).sum())
        total += int(found.sum() + one.lesion.sum())
    return 2 * shared / total if total else 1.0
