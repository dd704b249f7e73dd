"""Choose threshold, least mean probability and smallest volume of a lesion, on samples that training never saw."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage

from .. import space
from ..cards import Operating
from ..evaluate.scores import Counts, hits_iou20, overlaps
from ..model.network import MultiSequenceNet
from ..segment import cord_zone
from ..simulate.draw import Draw
from ..simulate.patches import PRESENCE, Patch, make_patch
from .methods import METHODS, Dropout, t2sag_alone
from .samples import Keep, Kept, lesion_example

THRESHOLDS = (0.2, 0.3, 0.4, 0.5, 0.6)
MEANS = (0.0, *(round(0.5 + 0.02 * step, 2) for step in range(24)))
VOLUMES_MM3 = (0.0, 3.0, 6.0, 10.0)
#: False lesions that are tolerated in a lesion-free sample of 32 mm. Simulated samples are noisier and stranger than most scans:
#: 0.1 a sample would be two in the nine lesion-free development scans (700 mm of cord).
MOST_FALSE = 0.1
#: Training samples have seeds from 0 upwards in steps far below this.
FIRST_SEED = 5_000_000_000


@dataclass(frozen=True)
class Point:
    """One setting and what it gave on the validation samples; false lesions are those in samples without any lesion."""

    setting: Operating
    counts: Counts
    false_per_sample: float


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


Map = tuple[NDArray[np.float32], NDArray[np.bool_]]


def choose(
    network: MultiSequenceNet,
    samples: int,
    method: str = "mean-imputation",
    held: Sequence[Patch] = (),
    folder: Path | None = None,
) -> dict[str, object]:
    """Return the operating point for the model card.

    The setting with the highest lesion F1 (IoU of at least 0.2) among those with few false lesions in samples without
    a lesion; where none is that quiet, the quietest.

    Parameters
    ----------
    samples : int
        Simulated samples to choose on.
    held : sequence of Patch
        Samples of a dataset that were held back; where there are any, they are chosen on instead.
    folder : Path, optional
        Where simulated samples are kept.
    """
    keep = shown_by(method)
    presence = {**PRESENCE, "T2Sag": 1.0} if METHODS[method].t2sag_only else PRESENCE
    make: Callable[[int], Patch] = partial(make_patch, presence=presence)
    if folder:
        make = Kept(make, folder)
    simulated = ((FIRST_SEED + n, make(FIRST_SEED + n)) for n in range(samples))
    patches: Iterable[tuple[int, Patch]] = enumerate(held) if held else simulated
    best = pick(measure([predict(network, patch, seed, keep) for seed, patch in patches]))
    where = f"{samples} simulated samples of 32 mm that training did not see"
    if held:
        where = f"{len(held)} samples of 32 mm of the dataset, of participants that training did not see"
    return {
        **asdict(best.setting),
        "chosen_on": where,
        "lesion_f1_iou20": round(best.counts.f1, 4),
        "recall": round(best.counts.recall, 4),
        "precision": round(best.counts.precision, 4),
        "false_lesions_per_lesion_free_sample": round(best.false_per_sample, 4),
    }


def pick(points: Iterable[Point]) -> Point:
    """Return the best of the quiet points, or the quietest."""
    points = list(points)
    quiet = [point for point in points if point.false_per_sample <= MOST_FALSE]
    if quiet:
        return max(quiet, key=lambda point: point.counts.f1)
    return min(points, key=lambda point: point.false_per_sample)


def shown_by(method: str) -> Keep:
    """Return what a method's samples show in validation."""
    return t2sag_alone if METHODS[method].t2sag_only else Dropout()


def predict(network: MultiSequenceNet, patch: Patch, seed: int, keep: Keep) -> Map:
    """Return probability within the cord's zone, and the lesions that the shown sequences show, for one sample."""
    example = lesion_example([patch], Draw(seed + 1), keep, True, network.config.intensity)
    device = next(network.parameters()).device
    with torch.inference_mode():
        probability = torch.sigmoid(network(example.to(device).batch)[0, 0]).float().cpu().numpy()
    zone = cord_zone(example.target[0, 1].numpy())
    seen = example.seen[0, 0].numpy() > 0
    return probability * zone * seen, example.target[0, 0].numpy() > 0.5


def measure(maps: Sequence[Map]) -> list[Point]:
    """Return what every setting gives."""
    free = [not lesion.any() for _, lesion in maps]
    points = []
    for threshold in THRESHOLDS:
        cut = [components(*one, threshold) for one in maps]
        for mean, volume in itertools.product(MEANS, VOLUMES_MM3):
            counts = [one.count(mean, volume) for one in cut]
            false = sum(count.wrong for count, empty in zip(counts, free, strict=True) if empty)
            points.append(
                Point(
                    Operating(threshold, volume, mean),
                    sum(counts, Counts(0, 0, 0, 0)),
                    false / max(1, sum(free)),
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
        probability, lesion = predict(network, patch, number, keep)
        found = probability >= 0.5
        shared += int((found & lesion).sum())
        total += int(found.sum() + lesion.sum())
    return 2 * shared / total if total else 1.0
