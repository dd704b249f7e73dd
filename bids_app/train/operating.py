"""Choose threshold, least mean probability and smallest volume of a lesion, on samples that training never saw.

``python -m bids_app.train.operating WEIGHTS`` chooses anew for weights that are there, on simulated samples, and writes their
card. A calibration must be fitted again afterwards.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path

from ..errors import ExitCode, MscordError
from ..files import write_json
from ..model import checkpoint
from ..model.network import MultiSequenceNet
from ..simulate.patches import PRESENCE, Patch, make_patch
from .methods import METHODS
from .sources import kept_samples
from .store import Kept
from .validation import Map, Point, measure, predict, shown_by, together

#: False lesions that are tolerated in a lesion-free sample of 32 mm. Simulated samples are noisier and stranger than most scans:
#: 0.1 a sample would be two in the nine lesion-free development scans (700 mm of cord).
MOST_FALSE = 0.1
#: And on all real scans without lesions that a setting is chosen on.
MOST_REAL = 0
#: With fewer samples without and with lesions a group has no choice of its own.
LEAST_FREE, LEAST_ILL = 40, 20
#: Training samples have seeds from 0 upwards in steps far below this.
FIRST_SEED = 5_000_000_000


def choose(
    network: MultiSequenceNet,
    samples: int,
    method: str = "mean-imputation",
    held: Sequence[Patch] = (),
    folder: Path | None = None,
    real: Sequence[Map] = (),
) -> dict[str, object]:
    """Return the operating point for the model card.

    The setting with the highest lesion F1 (IoU of at least 0.2) among those with few false lesions in samples without
    a lesion; where none is that quiet, the quietest. The least mean is chosen for one and for several sequences, see `pick`.

    Parameters
    ----------
    samples : int
        Simulated samples to choose on.
    held : sequence of Patch
        Samples of a dataset that were held back; where there are any, they are chosen on instead.
    folder : Path, optional
        Where simulated samples are kept.
    real : sequence of Map
        Real scans without lesions, of one sequence each: what is marked there is false, too.
    """
    keep = shown_by(method)
    presence = {**PRESENCE, "T2Sag": 1.0} if METHODS[method].t2sag_only else PRESENCE
    make: Callable[[int], Patch] = partial(make_patch, presence=presence)
    if folder:
        make = Kept(make, folder)
    simulated = ((FIRST_SEED + n, make(FIRST_SEED + n)) for n in range(samples))
    patches: Iterable[tuple[int, Patch]] = enumerate(held) if held else simulated
    maps = [predict(network, patch, seed, keep) for seed, patch in patches]
    one, several = pick(maps, real)
    where = f"{samples} simulated samples of 32 mm that training did not see"
    if held:
        where = f"{len(held)} samples of 32 mm of the dataset, of participants that training did not see"
    if real:
        where += f", and {len(real)} real scans without lesions"
    return {
        **asdict(replace(one.setting, least_mean_several=several.setting.least_mean)),
        "chosen_on": where,
        **for_card(together([one, several])),
        **{
            name: for_card(point)
            for name, point in (("one_sequence", one), ("several_sequences", several))
            if point.samples
        },
    }


def for_card(point: Point) -> dict[str, object]:
    """Return what the model card says of a point."""
    return {
        "samples": point.samples,
        "lesion_free_samples": point.free,
        "lesion_f1_iou20": round(point.counts.f1, 4),
        "recall": round(point.counts.recall, 4),
        "precision": round(point.counts.precision, 4),
        "false_lesions_per_lesion_free_sample": round(point.false_per_sample, 4),
        "false_lesions_in_real_scans": point.real,
    }


def pick(maps: Sequence[Map], real: Sequence[Map] = ()) -> tuple[Point, Point]:
    """Return the points of samples that one sequence covers and of those that several do; they differ in the mean alone.

    For each threshold and volume each group takes the quiet mean with its highest lesion F1; of these the one with the highest
    F1 of all together counts. Where nothing is quiet, the quietest. With a group of fewer than `LEAST_FREE` samples without or
    `LEAST_ILL` with lesions, quiet and F1 are those of all together, and the points have the same mean.
    """
    groups = [[one for one in maps if one.several == several] for several in (False, True)]
    points = [measure(group) for group in groups]
    if real:
        # They show one sequence each.
        wrong = [point.false for point in measure(real)]
        points[0] = [replace(point, real=n) for point, n in zip(points[0], wrong, strict=True)]
    free = [sum(one.free for one in group) for group in groups]
    if any(n < LEAST_FREE or len(group) - n < LEAST_ILL for n, group in zip(free, groups, strict=True)):
        return min(zip(*points, strict=True), key=lambda both: _rank([together(both)]))
    cuts: dict[tuple[float, float], list[list[Point]]] = {}
    for number, group in enumerate(points):
        for point in group:
            key = (point.setting.threshold, point.setting.minimum_volume_mm3)
            cuts.setdefault(key, [[], []])[number].append(point)
    # For each cut every group chooses its mean; then the cuts are compared.
    best = [tuple(min(group, key=lambda point: _rank([point])) for group in both) for both in cuts.values()]
    one, several = min(best, key=_rank)
    return one, several


def _rank(points: Sequence[Point]) -> tuple[float, float]:
    """Return what is least for the best choice: false lesions as far as they are too many, then missing lesion F1."""
    too_many = max(0.0, *(point.false_per_sample / MOST_FALSE - 1 for point in points))
    too_many += max(0, together(points).real - MOST_REAL)
    return too_many, -together(points).counts.f1


def main(argv: list[str] | None = None) -> int:
    """Choose anew and write the card."""
    parser = argparse.ArgumentParser(prog="python -m bids_app.train.operating", description=__doc__)
    parser.add_argument("weights", type=Path, help="lesion model (.safetensors)")
    parser.add_argument(
        "--validation", type=int, default=400, metavar="N", help="simulated samples to choose on"
    )
    parser.add_argument(
        "--samples",
        type=Path,
        metavar="DIR",
        help="samples are kept here, and found here by the next call and by mscord-train",
    )
    options = parser.parse_args(argv)
    try:
        loaded = checkpoint.load(options.weights)
    except MscordError as error:
        sys.stderr.write(f"{error}\n")
        return int(error.exit_code)
    # A calibration holds for the pieces that one threshold leaves.
    record = {name: value for name, value in loaded.card.record.items() if name != "calibration"}
    method = record.get("training", {}).get("method", "mean-imputation")
    point = choose(
        loaded.network.eval(),
        options.validation,
        method,
        folder=kept_samples(options.samples, "validation", method),
    )
    write_json(options.weights.with_suffix(".json"), record | {"operating_point": point})
    sys.stdout.write(json.dumps(point, indent=2) + "\n")
    return int(ExitCode.OK)


if __name__ == "__main__":
    sys.exit(main())
