"""From rows to tables: what is averaged over whom, and two methods beside each other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ..tables import Cell, Column
from .assess import Assessed
from .detection import Froc, froc, participants, recall_by_level, recall_by_size
from .lesionwise import REFERENCE, LesionRow
from .scores import RULES
from .statistics import Comparison, Values, compare, holm, interval

#: Means of these are taken over participants with reference lesions.
AVERAGED = (
    *("dice", "sensitivity", "precision", "volume_difference_mm3", "hd95_mm", "assd_mm"),
    *(f"lesion_{what}_{rule}" for rule in RULES for what in ("f1", "sensitivity", "precision")),
)
#: What two methods are compared by; `holm` corrects over these.
COMPARED = ("dice", *(f"lesion_f1_{rule}" for rule in RULES))
ILL, FREE, ALL = "participants with reference lesions", "participants without", "all participants"

SUMMARY_COLUMNS = (
    Column("measure", "What is measured"),
    Column("over", "Over whom: with reference lesions, without, or all participants"),
    Column("participants", "How many of them have a value"),
    Column("mean", "Mean over participants; of each, the mean over images"),
    Column("low", "Lower end of the 95 % interval of the mean, by bootstrap over participants"),
    Column("high", "Upper end"),
    Column("median", "Median over participants"),
    Column("sd", "Standard deviation over participants"),
)
LESION_COLUMNS = (
    Column("participant", "Participant"),
    Column("session", "Session"),
    Column("image", "Image"),
    Column("side", "reference or prediction"),
    Column("lesion", "Number within the image and side; a 26-connected component"),
    Column("volume_mm3", "Volume", "mm^3"),
    Column("x_mm", "Centre of mass, towards the right, scanner space", "mm"),
    Column("y_mm", "Centre of mass, towards the front", "mm"),
    Column("z_mm", "Centre of mass, towards the head", "mm"),
    Column("level", "Vertebral level, where the references have a map of levels"),
    Column("probability", "Highest probability inside; of a reference lesion, that of what hits it"),
    Column("best_iou", "Highest IoU with a lesion of the other side"),
    Column("found_iou20", "1 where found (of a prediction: right) by the rule iou20"),
    Column("found_overlap25", "1 where found (of a prediction: right) by the rule overlap25"),
)
COMPARISON_COLUMNS = (
    Column("measure", "What is compared"),
    Column("participants", "Participants with reference lesions and a value by both"),
    Column("gain", "Mean difference, first method less the other"),
    Column("low", "Lower end of its 95 % interval, by bootstrap over participants"),
    Column("high", "Upper end"),
    Column("effect", "Matched-pairs rank-biserial correlation"),
    Column("p", "Wilcoxon signed-rank test, two-sided"),
    Column("p_holm", "Corrected over the rows of this table (Holm)"),
)


@dataclass(frozen=True, eq=False)
class Summary:
    """Everything that is said of one method.

    Attributes
    ----------
    rows : list
        Of ``summary.tsv``.
    sizes, levels : list of (str, int, int)
        Range of volume or vertebral level; lesions; found lesions (rule ``iou20``).
    """

    rows: list[dict[str, Cell]]
    sizes: list[tuple[str, int, int]]
    levels: list[tuple[str, int, int]]
    curve: Froc | None
    pairs: int


def metrics_row(one: Assessed) -> dict[str, Cell]:
    """Return a row of ``metrics.tsv``."""
    pair = one.pair
    return {
        "participant": pair.participant,
        "session": pair.session,
        "image": pair.image,
        **one.metrics,
    }


def lesion_cells(one: Assessed) -> list[dict[str, Cell]]:
    """Return the rows of ``lesions.tsv`` of a pair."""
    return [
        {
            "participant": one.pair.participant,
            "session": one.pair.session,
            "image": one.pair.image,
            "side": row.side,
            "lesion": row.number,
            "volume_mm3": row.volume_mm3,
            **dict(zip(("x_mm", "y_mm", "z_mm"), map(float, centre), strict=True)),
            "level": row.level,
            "probability": row.probability,
            "best_iou": row.best_iou,
            "found_iou20": int(row.found_iou20),
            "found_overlap25": int(row.found_overlap25),
        }
        for row, centre in zip(one.lesions, one.centres_mm, strict=True)
    ]


def summarise(assessed: Sequence[Assessed]) -> Summary:
    """Summarise one method."""
    lesions: list[LesionRow] = [row for one in assessed for row in one.lesions]
    ill = with_lesions(assessed)
    rows = [_mean(name, ILL, per_participant(assessed, name, ill)) for name in AVERAGED]
    everyone = {one.pair.participant for one in assessed}
    for name in RULES:
        wrong = f"lesions_wrong_{name}"
        for title, group in ((ALL, everyone), (FREE, everyone - ill)):
            rows.append(
                _mean(f"false_positives_per_image_{name}", title, per_participant(assessed, wrong, group))
            )
    found = participants(
        [
            (
                one.pair.participant,
                one.metrics["volume_reference_mm3"] > 0,
                one.metrics["volume_prediction_mm3"] > 0,
            )
            for one in assessed
        ]
    )
    rows.append(_single("participants_with_any_lesion_marked", ILL, found.sensitivity, len(ill)))
    rows.append(_single("participants_with_none_marked", FREE, found.specificity, len(everyone - ill)))
    curve = froc(lesions, len(assessed))
    if curve:
        count = sum(row.side == REFERENCE for row in lesions)
        rows.append(_single("froc_score", f"{count} reference lesions", curve.score, len(everyone)))
    return Summary(rows, recall_by_size(lesions), recall_by_level(lesions), curve, len(assessed))


def with_lesions(assessed: Sequence[Assessed]) -> set[str]:
    """Return the participants who have a lesion in any of their reference masks."""
    return {one.pair.participant for one in assessed if one.metrics["volume_reference_mm3"] > 0}


def per_participant(assessed: Sequence[Assessed], measure: str, group: set[str]) -> dict[str, float]:
    """Return the mean over images of each participant; images without a value (NaN) are left out, and so is who has no other."""
    found: dict[str, list[float]] = {}
    for one in assessed:
        value = one.metrics[measure]
        if one.pair.participant in group and np.isfinite(value):
            found.setdefault(one.pair.participant, []).append(value)
    return {name: float(np.mean(values)) for name, values in found.items()}


def compared(first: Sequence[Assessed], second: Sequence[Assessed]) -> list[dict[str, Cell]]:
    """Return the rows of ``comparison.tsv``: the first method less the second, on the images that both have."""
    shared = {one.pair.image for one in first} & {one.pair.image for one in second}
    ours = [one for one in first if one.pair.image in shared]
    theirs = [one for one in second if one.pair.image in shared]
    ill = with_lesions(ours)
    found: list[tuple[str, Comparison]] = []
    for name in COMPARED:
        a, b = per_participant(ours, name, ill), per_participant(theirs, name, ill)
        names = sorted(a.keys() & b.keys())
        if names:
            found.append((name, compare(np.array([a[n] for n in names]), np.array([b[n] for n in names]))))
    corrected = holm([one.p for _, one in found])
    return [
        {
            "measure": name,
            "participants": one.participants,
            "gain": one.gain,
            "low": one.low,
            "high": one.high,
            "effect": one.effect,
            "p": one.p,
            "p_holm": p,
        }
        for (name, one), p in zip(found, corrected, strict=True)
    ]


def _mean(measure: str, over: str, values: Mapping[str, float]) -> dict[str, Cell]:
    array: Values = np.array(list(values.values()))
    row: dict[str, Cell] = {"measure": measure, "over": over, "participants": len(array)}
    if len(array):
        row |= {"mean": float(array.mean()), "median": float(np.median(array))}
    if len(array) > 1:
        low, high = interval(array)
        row |= {"low": low, "high": high, "sd": float(array.std(ddof=1))}
    return row


def _single(measure: str, over: str, value: float, count: int) -> dict[str, Cell]:
    return {"measure": measure, "over": over, "participants": count, "mean": value}
