"""``python -m bids_app.accuracy [DATA]``: print how good the weights are.

DATA is the BIDS folder of the public development scans with manual masks in ``derivatives/labels``; without it only the
figures on simulated participants are printed.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable
from pathlib import Path

import torch

from ..cards import SHIPPED
from ..segment import Segmenter
from .alone import comparison
from .cords import cord_agreement
from .real import false_lesions, painted_lesions, recall, retest
from .scans import half_of, read_scans
from .simulated import PARTICIPANTS, report


def main(argv: list[str] | None = None) -> int:
    """Print all figures."""
    parser = argparse.ArgumentParser(prog="python -m bids_app.accuracy", description=__doc__)
    parser.add_argument("data", type=Path, nargs="?")
    parser.add_argument(
        "--weights",
        type=Path,
        default=SHIPPED / "lesion.safetensors",
        help="lesion model (default: the one that ships)",
    )
    parser.add_argument(
        "--halves",
        type=Path,
        nargs=2,
        metavar=("FIRST", "SECOND"),
        help="lesion models that learned from the first and from the second half of the people of DATA: each is judged on "
        "the other half, instead of --weights",
    )
    parser.add_argument(
        "--participants", type=int, default=PARTICIPANTS, help="simulated participants; 0: none"
    )
    parser.add_argument(
        "--alone",
        type=Path,
        metavar="SCORES",
        help="table of python -m bids_app.accuracy.alone, to be printed, too",
    )
    parser.add_argument("--workers", type=int, default=2, help="processes that simulate")
    options = parser.parse_args(argv)
    shipped = Segmenter(torch.device("cpu"), options.weights)
    halves = [Segmenter(torch.device("cpu"), path) for path in (options.halves or [] if options.data else [])]
    for one in (shipped, *halves):
        say(
            [
                f"weights {one.weights.card.name}, SHA-256 {one.weights.card.sha256[:12]}, {one.operating}",
                f"  of {one.weights.card.record['data']}",
            ]
        )

    def judge(stem: str) -> Segmenter:
        return halves[1 - half_of(stem)] if halves else shipped

    if options.data:
        scans = read_scans(options.data)
        if halves:
            say(["every scan is judged by weights that have learned from other people's scans"])
        say(false_lesions(scans, judge))
        results, beside = painted_lesions(scans, judge)
        say(recall(results, beside, len(scans)))
        say(retest(results))
        say(cord_agreement(options.data))
    if options.participants:
        say(report(shipped, options.participants, options.workers))
    if options.alone:
        say(comparison(options.alone))
    return 0


def say(lines: Iterable[str]) -> None:
    """Print lines as they come."""
    for line in lines:
        sys.stdout.write(line + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
