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

from ..segment import Segmenter
from .cords import cord_agreement
from .real import false_lesions, painted_lesions, recall, retest
from .scans import read_scans
from .simulated import PARTICIPANTS, report


def main(argv: list[str] | None = None) -> int:
    """Print all figures."""
    parser = argparse.ArgumentParser(prog="python -m bids_app.accuracy", description=__doc__)
    parser.add_argument("data", type=Path, nargs="?")
    parser.add_argument("--weights", type=Path, help="lesion model (default: the one that ships)")
    parser.add_argument("--baseline", type=Path, help="lesion model that was trained on T2Sag alone")
    parser.add_argument(
        "--participants", type=int, default=PARTICIPANTS, help="simulated participants; 0: none"
    )
    parser.add_argument("--workers", type=int, default=2, help="processes that simulate")
    options = parser.parse_args(argv)
    segmenter = Segmenter(torch.device("cpu"), options.weights)
    say(
        [
            f"weights {segmenter.weights.card.name}, SHA-256 {segmenter.weights.card.sha256[:12]}, {segmenter.operating}"
        ]
    )
    if options.data:
        scans = read_scans(options.data)
        say(false_lesions(scans, segmenter))
        results, beside = painted_lesions(scans, segmenter)
        say(recall(results, beside, len(scans)))
        say(retest(results))
        say(cord_agreement(options.data))
    if options.participants:
        say(report(segmenter, options.baseline, options.participants, options.workers))
    return 0


def say(lines: Iterable[str]) -> None:
    """Print lines as they come."""
    for line in lines:
        sys.stdout.write(line + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
