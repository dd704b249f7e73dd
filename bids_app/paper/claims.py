"""What the paper claims, and whether it holds on the simulated cohort."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ..evaluate.statistics import Comparison, Values, compare, holm
from ..train.methods import BASELINE
from .runs import OURS
from .scoring import ENSEMBLE, Row

BETWEEN = ("feature-augmentation", "frozen-encoder")
#: From here on a difference counts as shown.
LEVEL = 0.05

Tables = Mapping[str, Sequence[Row]]


@dataclass(frozen=True)
class Verdict:
    """One claim under one way of drawing visibility.

    Attributes
    ----------
    answer : str
        ``holds``, ``reversed``, ``not shown`` or ``not run``.
    reason : str
        The figures behind it.
    """

    claim: str
    answer: str
    reason: str


def values(
    rows: Sequence[Row], shown: str, score: str, cohorts: str = "AC", run: str = "seeds"
) -> dict[str, float]:
    """Return one score per participant with lesions: the mean over seeds, or that of one run or the ensemble."""
    found: dict[str, list[float]] = {}
    for row in rows:
        wanted = row["run"] != ENSEMBLE if run == "seeds" else row["run"] == run
        if wanted and row["with_lesions"] == "True" and row["cohort"] in cohorts and row["shown"] == shown:
            found.setdefault(row["participant"], []).append(float(row[score]))
    return {name: float(np.mean(each)) for name, each in found.items()}


def paired(first: Mapping[str, float], second: Mapping[str, float]) -> tuple[Values, Values]:
    """Return the values of the participants that both have, in one order."""
    names = sorted(first.keys() & second.keys())
    return np.array([first[n] for n in names]), np.array([second[n] for n in names])


def check(tables: Tables, score: str) -> list[Verdict]:
    """Return a verdict on each claim, by one score; p-values are corrected by Holm's procedure over all of them."""
    plans = [_helps(tables, score), _between(tables, score), _axial(tables, score)]
    comparisons = [one for _, parts in plans for _, one in parts]
    corrected = iter(holm([one.p for one in comparisons]))
    return [_judge(claim, [(name, one, next(corrected)) for name, one in parts]) for claim, parts in plans]


Part = tuple[str, Comparison]


def _helps(tables: Tables, score: str) -> tuple[str, list[Part]]:
    claim = "training on many sequences helps when T2Sag alone is there"
    if BASELINE not in tables or OURS not in tables:
        return claim, []
    ours, theirs = (values(tables[name], "T2Sag", score) for name in (OURS, BASELINE))
    return claim, [("mean imputation over the baseline", compare(*paired(ours, theirs)))]


def _between(tables: Tables, score: str) -> tuple[str, list[Part]]:
    claim = "feature augmentation and the frozen encoder come between the baseline and mean imputation"
    parts: list[Part] = []
    if not {BASELINE, OURS, *BETWEEN} <= tables.keys():
        return claim, []
    for name in BETWEEN:
        middle = values(tables[name], "T2Sag", score)
        low, high = (values(tables[other], "T2Sag", score) for other in (BASELINE, OURS))
        parts.append((f"{name} over the baseline", compare(*paired(middle, low))))
        parts.append((f"mean imputation over {name}", compare(*paired(high, middle))))
    return claim, parts


def _axial(tables: Tables, score: str) -> tuple[str, list[Part]]:
    claim = "of the further sequences, axial T2*w adds most"
    if OURS not in tables:
        return claim, []
    parts: list[Part] = []
    for cohort, other in (("A", "T2Ax"), ("C", "T1")):
        star, less = (values(tables[OURS], f"T2Sag+{name}", score, cohort) for name in ("T2starAx", other))
        alone = values(tables[OURS], "T2Sag", score, cohort)
        if star:
            parts.append((f"adding T2starAx to T2Sag, cohort {cohort}", compare(*paired(star, alone))))
            parts.append((f"adding T2starAx rather than {other}", compare(*paired(star, less))))
    return claim, parts


def _judge(claim: str, parts: Sequence[tuple[str, Comparison, float]]) -> Verdict:
    if not parts:
        return Verdict(claim, "not run", "the methods that it is about were not trained")
    reason = "; ".join(
        f"{name}: {one.gain:+.3f} ({one.low:+.3f} to {one.high:+.3f}, effect {one.effect:+.2f}, "
        f"p = {one.p:.2g}, by Holm {p:.2g}, {one.participants} participants)"
        for name, one, p in parts
    )
    if all(one.gain > 0 and p < LEVEL for _, one, p in parts):
        return Verdict(claim, "holds", reason)
    if any(one.gain < 0 and p < LEVEL for _, one, p in parts):
        return Verdict(claim, "reversed", reason)
    return Verdict(claim, "not shown", reason)
