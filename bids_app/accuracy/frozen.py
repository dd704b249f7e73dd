"""Lesion F1 on simulated samples: those that version 0.1.0's simulator made, which stay the same, and those of this one.

`make_frozen` makes the former. What a sample shows, the label, and the counting are those of the model card; the setting
is that of the weights.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..evaluate.scores import Counts
from ..evaluate.statistics import DRAWS
from ..model.network import MultiSequenceNet
from ..operating import Operating
from ..segment import Segmenter
from ..sequences import SLOTS
from ..simulate.draw import Draw
from ..simulate.patches import Patch, make_patch
from ..train.methods import Dropout
from ..train.samples import Keep
from ..train.validation import Map, components, predict
from .lines import Line

#: What samples show in the protocol of 0.1.0's model card.
SHOWN = Dropout(alone=0.3, single=0.3, without=0.2, subset=0.4)
T1 = SLOTS.index("T1")
#: Far from the seeds of training and of the choice of the setting.
FIRST_SEED = 6_000_000_000
MUST = {"one sequence": "0.45", "several sequences": "0.55", "T1 alone": "0.3"}


class Remembering:
    """Chooses rows as another does, and remembers the slots that were shown last."""

    def __init__(self, keep: Keep) -> None:
        self.keep = keep
        self.shown: tuple[int, ...] = ()

    def __call__(self, slots: tuple[int, ...], draw: Draw) -> list[int]:
        """Choose rows."""
        rows = self.keep(slots, draw)
        self.shown = tuple(slots[row] for row in rows)
        return rows


def every(slots: tuple[int, ...], draw: Draw) -> list[int]:
    """Choose all rows."""
    del draw
    return list(range(len(slots)))


def frozen_scores(folder: Path, segmenter: Segmenter, most: int | None = None) -> Iterator[str | Line]:
    """Yield lesion F1 by what the samples show; ``most`` looks at the first so many only."""
    paths = sorted(folder.glob("*.npz"), key=lambda path: int(path.stem))[:most]
    yield f"{len(paths)} simulated samples, made by the simulator of version 0.1.0"
    samples = ((int(path.stem), read_patch(path)) for path in paths)
    yield from scores("samples of 0.1.0's simulator", samples, segmenter, MUST)


def fresh_scores(count: int, segmenter: Segmenter) -> Iterator[str | Line]:
    """Yield the same of samples that the present simulator makes."""
    yield f"{count} simulated samples, made by the present simulator"
    samples = ((FIRST_SEED + n, make_patch(FIRST_SEED + n)) for n in range(count))
    yield from scores("samples of the present simulator", samples, segmenter, {})


def scores(
    title: str, samples: Iterable[tuple[int, Patch]], segmenter: Segmenter, must: Mapping[str, str]
) -> Iterator[str | Line]:
    """Yield lesion F1 of samples with their seeds."""
    network = segmenter.weights.network.eval()
    groups: dict[str, list[Map]] = {}
    for seed, patch in samples:
        for name, one in views(network, patch, seed, segmenter.sequences):
            groups.setdefault(name, []).append(one)
    for name in ("one sequence", "several sequences", "T1 alone", "T1 alone, as the draw has it"):
        if name in groups:
            yield from told(title, name, groups[name], segmenter.operating, must)


def read_patch(path: Path) -> Patch:
    """Read a sample as version 0.1.0 kept it."""
    with np.load(path) as arrays:
        slots = tuple(int(slot) for slot in arrays["slots"])
        return Patch(arrays["images"], arrays["coverage"], slots, arrays["visible"], arrays["cord"])


def views(
    network: MultiSequenceNet, patch: Patch, seed: int, known: Sequence[str] = SLOTS
) -> Iterator[tuple[str, Map]]:
    """Yield what a network makes of a sample, by what it is shown: as the draw has it, and its T1 alone where it has one.

    Of a sample only what the network knows is there.
    """
    rows = [row for row, slot in enumerate(patch.slots) if SLOTS[slot] in known]
    if not rows:
        return
    patch = only(patch, rows) if len(rows) < len(patch.slots) else patch
    keep = Remembering(SHOWN)
    one = predict(network, patch, seed, keep)
    yield ("several sequences" if one.several else "one sequence"), one
    if keep.shown == (T1,):
        yield "T1 alone, as the draw has it", one
    if T1 in patch.slots:
        yield "T1 alone", predict(network, only(patch, [patch.slots.index(T1)]), seed, every)


def only(patch: Patch, rows: list[int]) -> Patch:
    """Return a sample that has some of its images and what these show."""
    slots = tuple(patch.slots[row] for row in rows)
    return replace(
        patch, images=patch.images[rows], coverage=patch.coverage[rows], slots=slots, visible=patch.visible[rows]
    )  # fmt: skip


def told(
    title: str, name: str, maps: Sequence[Map], operating: Operating, must: Mapping[str, str]
) -> Iterator[str | Line]:
    """Yield recall, precision and false lesions, and the line of lesion F1 with its bootstrap interval over samples."""
    counts = [count(one, operating) for one in maps]
    free = [n for n, one in enumerate(maps) if one.free]
    both = sum(counts, Counts(0, 0, 0, 0))
    false = sum(counts[n].wrong for n in free)
    yield (
        f"\t{name}\trecall {both.recall:.3f}, precision {both.precision:.3f}; {false / max(1, len(free)):.3f} false lesions"
        f" in a sample without any ({len(free)} of {len(maps)})"
    )
    low, high = bootstrap(np.array(counts), lambda rows: Counts(*map(int, rows)).f1)
    yield Line(
        f"{title}, lesion F1, {name}", "simulated", both.f1, None, len(maps), low, high,
        must=must.get(name, ""),
    )  # fmt: skip


def count(one: Map, operating: Operating) -> Counts:
    """Count the lesions of a sample at a setting, by the rule ``iou20``."""
    least = operating.least(2 if one.several else 1)
    cut = components(one.probability, one.lesion, operating.threshold)
    return cut.count(least, operating.minimum_volume_mm3)


def bootstrap(
    rows: NDArray[np.int64], score: Callable[[NDArray[np.int64]], float], draws: int = DRAWS
) -> tuple[float, float]:
    """Return the 95 % interval of a score of summed rows, by bootstrap over rows (percentiles, fixed seed)."""
    random = np.random.default_rng(0)
    values = [score(rows[random.integers(0, len(rows), len(rows))].sum(axis=0)) for _ in range(draws)]
    low, high = np.percentile(values, [2.5, 97.5])
    return float(low), float(high)
