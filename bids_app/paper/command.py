"""``mscord-evaluate --paper OUT``: the paper's experiments on simulated cohorts."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from ..errors import ExitCode
from ..train.options import channels

#: Every sequence shows a lesion by its own chance, or all by the same.
VISIBILITIES = ("prior", "equal")


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add ``--paper`` and its options to a command line."""
    parser.add_argument(
        "--paper",
        type=Path,
        metavar="OUT",
        help="instead: repeat the experiments of Walsh et al. 2024 on a simulated cohort; goes on where it stopped",
    )
    group = parser.add_argument_group("with --paper")
    add = group.add_argument
    add("--steps", type=int, default=1500, help="training steps of every run")
    add("--batch", type=int, default=4, help="samples a step")
    add("--seeds", type=int, default=3, help="runs of each method")
    add("--methods", nargs="+", metavar="METHOD", help="methods to train (default: all)")
    add("--visibility", nargs="+", choices=VISIBILITIES, default=list(VISIBILITIES),
        help="lesions as visible as the simulator's prior says, or equally visible in every sequence")  # fmt: skip
    add("--training", type=int, default=0, metavar="N", help="participants to learn from; 0: all 247")
    add(
        "--testing",
        type=int,
        default=0,
        metavar="N",
        help="participants to test on; 0: all 115 of cohorts A and C",
    )
    add("--length", type=int, default=128, help="length of each simulated cord, in slices of 0.5 mm")
    add(
        "--channels",
        type=channels,
        default=(8, 16, 32, 64),
        metavar="N,N,...",
        help="features per level of the network",
    )
    add("--device", default="cpu", help="cpu, cuda or cuda:N")


def run(options: argparse.Namespace) -> ExitCode:
    """Train and score what is missing, print the tables, and write them to ``OUT/paper.md``.

    Raises
    ------
    UsageError
        There is no method of a given name.
    """
    from ..errors import UsageError
    from ..files import write_text
    from ..machine import available_cores
    from ..train.methods import BASELINE, METHODS
    from .report import report
    from .runs import Plan, train_all
    from .scoring import score_method

    methods = list(options.methods or METHODS)
    if unknown := [name for name in methods if name not in METHODS]:
        raise UsageError(f"There is no method {', '.join(unknown)}.", f"Choose from {', '.join(METHODS)}.")
    if any(METHODS[name].frozen for name in methods) and BASELINE not in methods:
        raise UsageError("The frozen encoder comes from the baseline.", f"Add {BASELINE} to --methods.")
    plan = Plan(
        Path(options.paper), options.steps, options.batch, options.seeds, options.training, options.testing,
        options.length, options.channels, options.device, options.workers or available_cores(),
    )  # fmt: skip
    results = {}
    for visibility in options.visibility:
        train_all(plan, visibility, methods)
        # What earlier runs of the same plan have scored belongs into the tables, too; the yardstick comes first.
        told = [name for name in METHODS if name in methods or plan.is_scored(visibility, name)]
        told.sort(key=lambda name: name != BASELINE)
        results[visibility] = {
            name: score_method(plan, visibility, name, METHODS[name].t2sag_only) for name in told
        }
    text = "\n".join(report(plan, results)) + "\n"
    write_text(plan.out / "paper.md", text)
    sys.stdout.write(text)
    return ExitCode.OK
