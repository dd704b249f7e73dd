"""The evaluation as Markdown and as one HTML page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import jinja2

from .. import __version__
from ..tables import Cell, Column, cell_text
from .summary import COMPARISON_COLUMNS, SUMMARY_COLUMNS, Summary

_TEMPLATES = Path(__file__).with_name("templates")
CAPTIONS = {
    "froc": "FROC: sensitivity for lesions over false lesions per image, as the least probability falls. "
    "Grey lines: where the score is read.",
    "volumes": "Lesion volume of each image: prediction less reference. "
    "Lines: mean and limits of agreement (1.96 standard deviations).",
    "sizes": "Reference lesions that were found, by volume.",
}
MEANING = (
    "Means are taken over participants, after the mean over each one's images; Dice, lesion F1 and the other averages over "
    "participants who have a lesion in the reference. Two empty masks score 1, one empty mask 0; distances have no value where "
    "one mask is empty, and such images are left out of their mean. Lesions are counted by three rules: iou20 (a lesion of the "
    "other side has an IoU of at least 0.2), overlap25 (more than 25 % of the lesion is covered), both with 26-connectivity, and "
    "anima (components up to 3 mm3 dropped, 6-connectivity, alpha 0.10, beta 0.70, gamma 0.65). "
    "Numbers of different rules cannot be compared."
)


@dataclass(frozen=True)
class Table:
    """A table as text."""

    title: str
    note: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]

    def markdown(self) -> str:
        """Return the table as Markdown, with its title and note."""
        lines = [
            f"## {self.title}",
            "",
            self.note,
            "",
            markdown_row(*self.header),
            markdown_row(*["---"] * len(self.header)),
        ]
        return "\n".join([*lines, *(markdown_row(*row) for row in self.rows), ""])


def markdown_row(*cells: str) -> str:
    """Return a row of a table in Markdown."""
    return "| " + " | ".join(cells) + " |"


def tables(methods: Mapping[str, Summary], comparison: Sequence[Mapping[str, Cell]]) -> list[Table]:
    """Return the tables of a page: the comparison first, then a summary for each method, then recall by size and level."""
    result = []
    if comparison:
        names = list(methods)
        note = f"{names[0]} less {names[1]}, paired by participant, on the images that both have."
        result.append(_table("Comparison", note, COMPARISON_COLUMNS, comparison))
    for name, summary in methods.items():
        title = f"Summary of {name}" if len(methods) > 1 else "Summary"
        result.append(_table(title, f"{summary.pairs} pairs of masks.", SUMMARY_COLUMNS, summary.rows))
    for title, field in (("Recall by size", "sizes"), ("Recall by vertebral level", "levels")):
        groups: dict[str, dict[str, str]] = {}
        for name, summary in methods.items():
            for group, count, found in getattr(summary, field):
                share = f"{found} of {count}" + (f" ({found / count:.2f})" if count else "")
                groups.setdefault(group, {})[name] = share
        if groups:
            rows = tuple((group, *(own.get(name, "") for name in methods)) for group, own in groups.items())
            result.append(Table(title, "Rule iou20.", (title.removeprefix("Recall by "), *methods), rows))
    return result


def _table(title: str, note: str, columns: Sequence[Column], rows: Sequence[Mapping[str, Cell]]) -> Table:
    return Table(
        title,
        note,
        tuple(column.name for column in columns),
        tuple(tuple(cell_text(row.get(column.name)) for column in columns) for row in rows),
    )


def html(
    methods: Sequence[str],
    references: str,
    pairs: int,
    shown: Sequence[Table],
    figures: Mapping[str, str],
    problems: Sequence[str],
) -> str:
    """Return the page; it needs no other file."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_TEMPLATES), autoescape=True, trim_blocks=True, lstrip_blocks=True
    )
    return environment.get_template("evaluation.html").render(
        methods=methods,
        references=references,
        pairs=pairs,
        tables=shown,
        figures=[(CAPTIONS[name], svg) for name, svg in figures.items()],
        problems=problems,
        meaning=MEANING,
        version=__version__,
    )


def markdown(shown: Sequence[Table]) -> str:
    """Return the tables as Markdown."""
    return "\n".join(
        ["# Evaluation of lesion masks", "", MEANING, "", *(table.markdown() for table in shown)]
    )
