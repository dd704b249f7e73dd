"""Simulated participants unlike those of training: what more sequences give."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

from .. import space
from ..cutting import Crop, simulated_crop
from ..evaluate.scores import RULES, dice
from ..evaluate.statistics import Comparison, compare
from ..processes import process_pool
from ..segment import Segmenter
from ..sequences import SLOTS
from ..simulate.patches import make_patch
from ..simulate.shifted import shifted_levels, shifted_protocol

PARTICIPANTS = 100
#: Length of cord, in slices of 0.5 mm.
LENGTH = 160
#: Training and the choice of the threshold use seeds far from these.
FIRST_SEED = 9_000_000_000
#: Each holds the one before.
SUBSETS: tuple[tuple[str, ...], ...] = (
    ("T2Sag",),
    ("T2Sag", "T2starAx"),
    ("T2Sag", "T2starAx", "T2Ax"),
    ("T2Sag", "STIR", "T2starAx", "T2Ax"),
    SLOTS,
)
#: A loss of lesion F1 up to this is none.
MARGIN = 0.01
ABOUT = (
    f"simulated participants ({LENGTH * space.SPACING_MM:.0f} mm of cord each), "
    "noisier, with thicker slices and other contrast than in training"
)


@dataclass(frozen=True, eq=False)
class Participant:
    """A simulated participant in the common space: all sequences, and the lesions that any of them shows."""

    crop: Crop
    lesion: NDArray[np.bool_]

    def with_only(self, names: Sequence[str]) -> Crop:
        """Return the crop with some of the sequences."""
        rows = [self.crop.sequences.index(name) for name in names]
        return replace(
            self.crop,
            images=self.crop.images[rows],
            coverage=self.crop.coverage[rows],
            sequences=tuple(names),
        )


def make_participant(number: int) -> Participant:
    """Make one; equal numbers give equal participants."""
    torch.set_num_threads(1)
    patch = make_patch(
        FIRST_SEED + number, LENGTH, len(SLOTS), presence=dict.fromkeys(SLOTS, 1.0),
        levels=shifted_levels, protocol=shifted_protocol,
    )  # fmt: skip
    return Participant(simulated_crop(patch.images, patch.coverage, patch.cord, SLOTS), patch.lesion)


def make_people(count: int, workers: int) -> list[Participant]:
    """Make participants in several processes."""
    with process_pool(workers) as pool:
        return list(pool.map(make_participant, range(count), chunksize=4))


Scores = Mapping[str, NDArray[np.float64]]


def score(people: Sequence[Participant], names: Sequence[str], segmenter: Segmenter) -> Scores:
    """Return Dice, lesion F1 by each rule, and false lesions, one value a participant."""
    rows: dict[str, list[float]] = {name: [] for name in ("dice", *RULES, "wrong")}
    for person in people:
        _, instances, _ = segmenter.find(person.with_only(names))
        marked = instances > 0
        rows["dice"].append(dice(marked, person.lesion))
        for name, rule in RULES.items():
            counts = rule(marked, person.lesion, space.SPACING_MM**3)
            rows[name].append(counts.f1)
            if name == "iou20":
                rows["wrong"].append(counts.wrong)
    return {name: np.array(values) for name, values in rows.items()}


def report(segmenter: Segmenter, count: int, workers: int) -> Iterator[str]:
    """Yield the table over subsets of sequences, and whether adding some is non-inferior."""
    yield f"{count} {ABOUT}"
    people = make_people(count, workers)
    ill = np.array([person.lesion.any() for person in people])
    yield f"  {int(ill.sum())} with lesions, over whom Dice and F1 are averaged; {int((~ill).sum())} without"
    yield (
        "  sequences\tDice\t"
        + "\t".join(f"F1 {name}" for name in RULES)
        + "\tfalse lesions a lesion-free participant"
    )
    table = {names: score(people, names, segmenter) for names in SUBSETS}
    for names, scores in table.items():
        yield row("+".join(names) if names != SLOTS else "all", scores, ill)
    yield from _non_inferior(table, ill)


def row(title: str, scores: Scores, ill: NDArray[np.bool_]) -> str:
    """Return a line of a table: Dice and F1 over those with lesions, false lesions over those without."""
    means = "\t".join(f"{scores[name][ill].mean():.3f}" for name in ("dice", *RULES))
    free = scores["wrong"][~ill]
    return f"  {title}\t{means}\t{free.mean():.2f}" if len(free) else f"  {title}\t{means}\tn/a"


def _non_inferior(table: Mapping[tuple[str, ...], Scores], ill: NDArray[np.bool_]) -> Iterator[str]:
    """Yield what more sequences change, against the first subset and against the one before."""
    first, *others = table
    steps = [(first, more) for more in others]
    steps += [(fewer, more) for fewer, more in itertools.pairwise(table) if fewer != first]
    for fewer, more in steps:
        found = compare(table[more]["iou20"][ill], table[fewer]["iou20"][ill])
        added = "+".join(name for name in more if name not in fewer)
        verdict = "non-inferior" if found.low > -MARGIN else "non-inferiority NOT shown"
        yield f"  adding {added} to {'+'.join(fewer)}\tF1 iou20 {change(found)}: {verdict} by {MARGIN}"


def change(found: Comparison) -> str:
    """Return a mean difference with its interval."""
    return f"{found.gain:+.3f} (95 % interval {found.low:+.3f} to {found.high:+.3f})"
