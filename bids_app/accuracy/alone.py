"""What learning from many sequences gives to T2Sag alone, against learning from T2Sag alone with as many steps.

``python -m bids_app.accuracy.alone SCORES --runs OUT/prior`` scores the weights that ``mscord-evaluate --paper OUT`` trained, on
simulated participants unlike those of training, adds them to the table SCORES, and prints what it says. The weights are many
and do not ship; their scores do, and ``make accuracy`` prints them.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from ..evaluate.scores import RULES
from ..evaluate.statistics import compare
from ..files import read_json
from ..segment import Segmenter
from ..tables import Cell, Column, read_table, write_table
from ..train.methods import BASELINE, METHODS
from .simulated import ABOUT, Participant, change, make_people, row, score

PARTICIPANTS = 120
#: For all weights: no setting is chosen.
THRESHOLD = 0.5
SCORES = ("dice", *RULES, "wrong")
COLUMNS = (
    Column("method", "Method of training"),
    Column("steps", "Training steps"),
    Column("seed", "Run of the method"),
    Column("participant", "Number of the simulated participant"),
    Column("lesions", "1: with lesions, 0: without"),
    Column("dice", "Dice over voxels"),
    *(Column(name, f"Lesion F1 by the rule {name}") for name in RULES),
    Column("wrong", "False lesions"),
)

Row = Mapping[str, Cell]
#: Method and steps.
Kind = tuple[str, int]


def main(argv: list[str] | None = None) -> int:
    """Score what is not yet in the table, and print what the table says."""
    parser = argparse.ArgumentParser(prog="python -m bids_app.accuracy.alone", description=__doc__)
    parser.add_argument("scores", type=Path, help="table that is printed, and added to")
    parser.add_argument(
        "--runs", type=Path, nargs="*", default=[], help="folders that hold METHOD/seed-N/lesion.safetensors"
    )
    parser.add_argument(
        "--participants",
        type=int,
        default=PARTICIPANTS,
        help="to score on; a table that is there must have as many",
    )
    parser.add_argument("--workers", type=int, default=2, help="processes that simulate")
    options = parser.parse_args(argv)
    if options.runs:
        there = (
            {one["participant"] for one in read_table(options.scores)} if options.scores.exists() else set()
        )
        if there and len(there) != options.participants:
            parser.error(
                f"{options.scores} holds the scores of {len(there)} participants: --participants {len(there)}"
            )
        add(options.scores, options.runs, options.participants, options.workers)
    for line in comparison(options.scores):
        sys.stdout.write(line + "\n")
    return 0


def add(table: Path, runs: Sequence[Path], count: int, workers: int) -> None:
    """Score all finished runs that are not in the table."""
    rows: list[Row] = list(read_table(table)) if table.exists() else []
    known = {(one["method"], one["steps"], one["seed"]) for one in rows}
    people: list[Participant] = []
    for weights in sorted(path for root in runs for path in root.glob("*/seed-*/lesion.safetensors")):
        method, seed = weights.parent.parent.name, weights.parent.name.removeprefix("seed-")
        steps = str(read_json(weights.with_suffix(".json"))["steps"])
        if method not in METHODS or (method, steps, seed) in known:
            continue
        people = people or make_people(count, workers)
        rows += [{"method": method, "steps": steps, "seed": seed, **one} for one in _scored(people, weights)]
        write_table(table, COLUMNS, rows)


def _scored(people: Sequence[Participant], weights: Path) -> Iterator[Row]:
    found = score(people, ("T2Sag",), Segmenter(torch.device("cpu"), weights, THRESHOLD))
    for number, person in enumerate(people):
        values = {name: float(found[name][number]) for name in SCORES}
        yield {"participant": number, "lesions": int(person.lesion.any()), **values}


def comparison(table: Path) -> Iterator[str]:
    """Yield a line for each method and number of steps, and its comparison with the baseline of as many steps.

    Runs of one method with different seeds count by the mean of each participant's scores.
    """
    rows = read_table(table)
    kinds = sorted(
        {(one["method"], int(one["steps"])) for one in rows},
        key=lambda kind: (kind[1], list(METHODS).index(kind[0])),
    )
    yield f"trained on many sequences or on one, then given T2Sag alone, {ABOUT}"
    yield (
        "  method\tsteps\truns\tDice\t"
        + "\t".join(f"F1 {name}" for name in RULES)
        + "\tfalse lesions, lesion-free"
    )
    ill = _ill(rows)
    for kind in kinds:
        runs = len({one["seed"] for one in _of(rows, kind)})
        scores = {name: _mean(rows, kind, name) for name in SCORES}
        yield row(f"{kind[0]}\t{kind[1]}\t{runs}", scores, ill)
    for method, steps in kinds:
        if method == BASELINE or (BASELINE, steps) not in kinds:
            continue
        found = compare(
            _mean(rows, (method, steps), "iou20")[ill], _mean(rows, (BASELINE, steps), "iou20")[ill]
        )
        yield (
            f"  {method} against {BASELINE}, {steps} steps\tF1 iou20 {change(found)}, "
            f"Wilcoxon p = {found.p:.2g}, {found.participants} participants"
        )


def _of(rows: Sequence[Mapping[str, str]], kind: Kind) -> list[Mapping[str, str]]:
    return [one for one in rows if (one["method"], int(one["steps"])) == kind]


def _mean(rows: Sequence[Mapping[str, str]], kind: Kind, name: str) -> NDArray[np.float64]:
    """Return the mean over runs of each participant's score, in the order of the participants' numbers."""
    values: dict[int, list[float]] = {}
    for one in _of(rows, kind):
        values.setdefault(int(one["participant"]), []).append(float(one[name]))
    return np.array([np.mean(values[number]) for number in sorted(values)])


def _ill(rows: Sequence[Mapping[str, str]]) -> NDArray[np.bool_]:
    """Return who has lesions, by the participants' numbers: all runs are scored on the same."""
    lesions = {int(one["participant"]): one["lesions"] == "1" for one in rows}
    return np.array([lesions[number] for number in sorted(lesions)])


if __name__ == "__main__":
    sys.exit(main())
