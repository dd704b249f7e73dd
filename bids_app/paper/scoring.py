"""Score the trained networks on simulated people of the paper's test cohorts; one table a method, kept on disk."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray

from .. import space
from ..evaluate.scores import RULES, dice
from ..files import write_json, write_text
from ..processes import process_pool
from ..segment import Segmenter, cord_zone
from ..tables import read_table
from .cohort import TEST_SEED, Person, people, test_members
from .runs import Job, Plan

#: A voxel is a lesion from here on, for every method: no setting is tuned.
THRESHOLD = 0.5
#: What is shown at inference, by cohort; the first is what Table 2 is about.
SHOWN: dict[str, tuple[tuple[str, ...], ...]] = {
    "A": (("T2Sag",), ("T2Sag", "T2starAx"), ("T2Sag", "T2Ax"), ("T2Sag", "T2starAx", "T2Ax")),
    "C": (("T2Sag",), ("T2Sag", "T2starAx"), ("T2Sag", "T1"), ("T2Sag", "T2starAx", "T1")),
}
ENSEMBLE = "ensemble"
SCORES = ("dice", *(f"f1_{name}" for name in RULES))
COLUMNS = ("participant", "cohort", "shown", "run", "with_lesions", *SCORES, "false_lesions")

Row = dict[str, str]


def testing_people(plan: Plan, visibility: str) -> list[Person]:
    """Return the people to test on; they are simulated the first time."""
    members = test_members()
    if plan.testing:
        members = members[:: max(1, len(members) // plan.testing)][: plan.testing]
    return people(plan.out / visibility, "testing", members, TEST_SEED, visibility, plan.length, plan.workers)


def score_method(plan: Plan, visibility: str, method: str, t2sag_only: bool) -> list[Row]:
    """Return the scores of all runs of a method and of their ensemble (mean of the probabilities), one row each.

    Scores of the same plan that are there already count, also where the weights are gone.
    """
    path = plan.scores(visibility, method)
    if plan.is_scored(visibility, method):
        return [dict(row) for row in read_table(path)]
    stamp = [Job(visibility, method, seed).weights(plan) for seed in range(plan.seeds)]
    subjects = testing_people(plan, visibility)
    jobs = list(enumerate(subjects))
    with process_pool(plan.workers) as pool:
        score = partial(_score, weights=tuple(map(str, stamp)), t2sag_only=t2sag_only)
        rows = [row for found in pool.map(score, jobs, chunksize=4) for row in found]
    lines = ["\t".join(COLUMNS), *("\t".join(row[name] for name in COLUMNS) for row in rows)]
    write_text(path, "\n".join(lines) + "\n")
    write_json(path.with_suffix(".json"), plan.stamp)
    return rows


_loaded: dict[str, Segmenter] = {}


def _score(job: tuple[int, Person], weights: Sequence[str], t2sag_only: bool) -> list[Row]:
    from pathlib import Path

    torch.set_num_threads(1)
    for name in weights:
        if name not in _loaded:
            _loaded[name] = Segmenter(torch.device("cpu"), Path(name), THRESHOLD)
    number, person = job
    rows = []
    for shown in SHOWN[person.cohort][: 1 if t2sag_only else None]:
        crop = person.crop(shown)
        zone = cord_zone(crop.cord)
        maps = [_loaded[name].probability(crop) * zone for name in weights]
        runs = {f"seed-{seed}": one for seed, one in enumerate(maps)}
        runs[ENSEMBLE] = np.mean(maps, axis=0)
        for run, probability in runs.items():
            rows.append(_row(number, person, shown, run, probability >= THRESHOLD))
    return rows


def _row(number: int, person: Person, shown: Sequence[str], run: str, marked: NDArray[np.bool_]) -> Row:
    lesion = person.patch.lesion
    counts = {name: rule(marked, lesion, space.SPACING_MM**3) for name, rule in RULES.items()}
    values = {"dice": dice(marked, lesion), **{f"f1_{name}": count.f1 for name, count in counts.items()}}
    return {
        "participant": f"{person.cohort}{number:04d}",
        "cohort": person.cohort,
        "shown": "+".join(shown),
        "run": run,
        "with_lesions": str(bool(lesion.any())),
        **{name: f"{value:.5f}" for name, value in values.items()},
        "false_lesions": str(counts["iou20"].wrong),
    }
