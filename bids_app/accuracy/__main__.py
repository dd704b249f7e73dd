"""``python -m bids_app.accuracy [DATA]``: print how good the weights are.

DATA is a folder that holds the public development scans, with manual masks in ``derivatives/labels``; without it only figures on
simulated data are printed. Test people, from whom no network learns, stand apart from everybody else.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

import torch

from ..cards import SHIPPED, localiser_version
from ..localise import Localiser
from ..segment import Segmenter
from . import cords, lines, painted
from .frozen import fresh_scores, frozen_scores
from .lines import Line
from .scans import LESION_FREE, PAIRS, Found, find_cord, raw_scans
from .simulated import PARTICIPANTS, report


def main(argv: list[str] | None = None) -> int:
    """Print all figures."""
    options = parser().parse_args(argv)
    segmenter = Segmenter(torch.device("cpu"), options.weights)
    card = segmenter.weights.card
    say(
        [
            f"weights {card.name}, SHA-256 {card.sha256[:12]}, {segmenter.operating}",
            f"\tof {card.record['data']}",
        ]
    )
    table = Table(options.table)

    if options.data:
        table.take(on_scans(options.data, options.cord, None if options.cords_only else segmenter))
    if options.frozen:
        table.take(frozen_scores(options.frozen, segmenter, options.samples))
    if options.fresh:
        table.take(fresh_scores(options.fresh, segmenter))
    say(["", *lines.printed(table.lines)])
    if options.participants:
        say(report(segmenter, options.participants, options.workers))
    return 0


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    result = argparse.ArgumentParser(prog="python -m bids_app.accuracy", description=__doc__)
    result.add_argument("data", type=Path, nargs="?")
    result.add_argument(
        "--weights",
        type=Path,
        default=SHIPPED / "lesion.safetensors",
        help="lesion model (default: the one that ships)",
    )
    result.add_argument(
        "--cord",
        type=Path,
        default=SHIPPED,
        help="folder of the localiser's weights (default: those that ship)",
    )
    result.add_argument(
        "--cords-only", action="store_true", help="of the real scans: look at cords, not at lesions"
    )
    result.add_argument("--frozen", type=Path, metavar="DIR", help="samples that `make frozen` made")
    result.add_argument("--samples", type=int, metavar="N", help="look at the first N of them only")
    result.add_argument(
        "--fresh", type=int, default=400, metavar="N", help="samples of the present simulator; 0: none"
    )
    result.add_argument("--table", type=Path, help="also write the lines of the table here (.tsv)")
    result.add_argument(
        "--participants", type=int, default=PARTICIPANTS, help="simulated participants; 0: none"
    )
    result.add_argument("--workers", type=int, default=2, help="processes that simulate")
    return result


class Table:
    """Prints what comes, and keeps the lines; a file of them is written anew after each part."""

    def __init__(self, path: Path | None) -> None:
        self.path = path
        self.lines: list[Line] = []

    def take(self, coming: Iterable[str | Line]) -> None:
        """Print and keep."""
        for one in coming:
            if isinstance(one, Line):
                self.lines.append(one)
            say([one.text() if isinstance(one, Line) else one])
            if self.path and isinstance(one, Line):
                lines.write(self.path, self.lines)


def on_scans(data: Path, cord: Path, segmenter: Segmenter | None) -> Iterator[str | Line]:
    """Yield everything that real scans tell, test people first; without a segmenter what they tell of cords."""
    began = time.monotonic()
    localiser = Localiser(torch.device("cpu"), cord)
    yield localiser_version(cord)
    founds = {stem: find_cord(path, localiser) for stem, path in raw_scans(data).items()}
    yield from cords.finding(founds)
    yield from cords.agreement(data, founds)
    yield from cords.refusals(data, localiser)
    if segmenter is None:
        return
    free = [founds[stem] for stem in LESION_FREE if stem in founds]
    yield from painted.false_lesions(free, segmenter)
    yield "the same lesions painted into two runs"
    for first, second in PAIRS:
        if first in founds and second in founds:
            yield from painted.retest(founds[first], founds[second], segmenter)
    yield from _painted(free, segmenter)
    yield f"{time.monotonic() - began:.0f} s"


def _painted(free: Iterable[Found], segmenter: Segmenter) -> Iterator[str | Line]:
    yield "painted lesions"
    outcomes = {}
    for stem, outcome in painted.paint_all(free, segmenter):
        outcomes[stem] = outcome
        yield painted.told(stem, outcome)
    yield from painted.recall(outcomes)


def say(some: Iterable[str]) -> None:
    """Print lines as they come."""
    for line in some:
        sys.stdout.write(line + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
