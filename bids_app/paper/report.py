"""The paper's two tables beside ours, and its claims, as Markdown."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from ..evaluate.page import markdown_row
from ..evaluate.statistics import compare
from ..train.methods import BASELINE
from .claims import Tables, Verdict, check, paired, values
from .runs import OURS, Plan
from .scoring import ENSEMBLE, SCORES, SHOWN

#: Walsh et al. (MICCAI 2024), poster: lesion F1 (rule not named) and Dice.
TABLE_1 = {
    ("A", BASELINE, "T2Sag"): ".593 / .452",
    ("C", BASELINE, "T2Sag"): ".583 / .469",
    ("A", OURS, "T2Sag"): ".641** / .466*",
    ("C", OURS, "T2Sag"): ".606 / .493**",
    ("C", OURS, "T2Sag+T2starAx+T1"): ".622 / .518**",
    ("A", OURS, "T2Sag+T2starAx+T2Ax"): ".650** / .480**",
}
TABLE_2 = {
    BASELINE: ".564 ± .031 / .441 ± .011",
    "feature-augmentation": ".586 ± .026** / .446 ± .014*",
    "frozen-encoder": ".591 ± .022** / .448 ± .015*",
    OURS: ".603 ± .025** / .457 ± .013**",
}
#: By which the claims are judged, and stars given to F1.
RULE = "f1_iou20"
NAMES = {"prior": "as visible as the simulator's prior says", "equal": "equally visible in every sequence"}


def report(plan: Plan, results: Mapping[str, Tables]) -> Iterator[str]:
    """Yield the lines of the report.

    Parameters
    ----------
    results : mapping
        Scores by method, for each way of drawing visibility (``prior``, ``equal``).
    """
    yield "# The paper's experiments on a simulated cohort"
    yield ""
    yield (
        "**Simulated cohort**: no image of a person is in these tables, and the figures of Walsh et al. (MICCAI 2024) beside "
        "them are of real people: compare directions, not values. "
        f"Every run: {plan.steps} steps of {plan.batch} samples, channels {'-'.join(map(str, plan.channels))}, "
        f"{plan.seeds} seeds, threshold 0.5. Means are taken over the participants with lesions. "
        "Stars: Wilcoxon signed-rank test against the baseline, * p < 0.1, ** p < 0.05, uncorrected, as in the paper."
    )
    for visibility, tables in results.items():
        people = _people(tables)
        yield from ("", f"## Lesions {NAMES[visibility]}", "", people)
        yield from ("", "### Table 1: ensemble of the seeds", "")
        yield from _first(tables)
        yield from ("", "### Table 2: T2Sag alone, mean ± standard deviation over seeds, cohorts A and C", "")
        yield from _second(tables, plan.seeds)
    yield from ("", "## The claims", "")
    yield from _claims({name: check(tables, RULE) for name, tables in results.items()})


def _people(tables: Tables) -> str:
    rows = next(iter(tables.values()))
    seen = {row["participant"]: row for row in rows}
    parts = []
    for cohort in SHOWN:
        own = [row for row in seen.values() if row["cohort"] == cohort]
        ill = sum(row["with_lesions"] == "True" for row in own)
        parts.append(f"cohort {cohort}: {len(own)} participants, {ill} with lesions")
    return "; ".join(parts) + "."


def _first(tables: Tables) -> Iterator[str]:
    yield markdown_row("cohort", "method", "shown", *SCORES, "paper: F1 / Dice")
    yield markdown_row(*["---"] * (4 + len(SCORES)))
    for cohort, subsets in SHOWN.items():
        for method, rows in tables.items():
            for shown in ("+".join(names) for names in subsets):
                own = {score: values(rows, shown, score, cohort, ENSEMBLE) for score in SCORES}
                if not own["dice"]:
                    continue
                base = {
                    score: values(tables.get(BASELINE, ()), "T2Sag", score, cohort, ENSEMBLE)
                    for score in SCORES
                }
                cells = [f"{np.mean(list(own[s].values())):.3f}{_stars(own[s], base[s])}" for s in SCORES]
                yield markdown_row(cohort, method, shown, *cells, TABLE_1.get((cohort, method, shown), ""))


def _second(tables: Tables, seeds: int) -> Iterator[str]:
    yield markdown_row("method", *SCORES, "paper: F1 / Dice")
    yield markdown_row(*["---"] * (2 + len(SCORES)))
    for method, rows in tables.items():
        cells = []
        for score in SCORES:
            means = [
                np.mean(list(values(rows, "T2Sag", score, run=f"seed-{seed}").values()))
                for seed in range(seeds)
            ]
            base = values(tables.get(BASELINE, ()), "T2Sag", score)
            stars = _stars(values(rows, "T2Sag", score), base)
            cells.append(f"{np.mean(means):.3f} ± {np.std(means, ddof=1) if seeds > 1 else 0:.3f}{stars}")
        yield markdown_row(method, *cells, TABLE_2.get(method, ""))


def _stars(own: Mapping[str, float], base: Mapping[str, float]) -> str:
    if own == base or not own.keys() & base.keys():
        return ""
    return compare(*paired(own, base)).stars


def _claims(verdicts: Mapping[str, Sequence[Verdict]]) -> Iterator[str]:
    first = next(iter(verdicts))
    for number, one in enumerate(verdicts[first]):
        others = {name: each[number] for name, each in verdicts.items()}
        answers = {each.answer for each in others.values()}
        driven = (
            " The answer turns with how visible lesions are drawn: it is driven by that prior."
            if answers >= {"holds", "reversed"}
            else ""
        )
        yield f"* *{one.claim[0].upper()}{one.claim[1:]}.*{driven}"
        for name, each in others.items():
            yield f"  * Lesions {NAMES[name]}: **{each.answer}**. {each.reason}."
