"""Lines of the table of figures: a value with its count, its 95 % interval, and the scans and people behind it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..evaluate.statistics import poisson, wilson
from ..tables import Cell, Column, write_table
from .scans import people_in

COLUMNS = (
    Column("what", "What was measured"),
    Column("group", "On whom"),
    Column("value", "Share, mean, score, or number of false lesions"),
    Column("count", "Hits of a share, or false lesions"),
    Column("of", "Of how many: lesions, scans, samples"),
    Column("low", "Lower end of the 95 % interval of the value"),
    Column("high", "Upper end of it"),
    Column("scans", "Scans behind it"),
    Column("people", "People behind it"),
    Column("must", "What must be reached"),
)
NAN = float("nan")


@dataclass(frozen=True)
class Line:
    """One line; a count or an interval that there is none of is None or NaN."""

    what: str
    group: str
    value: float
    count: int | None = None
    of: int | None = None
    low: float = NAN
    high: float = NAN
    scans: int | None = None
    people: int | None = None
    must: str = ""

    def cells(self) -> dict[str, Cell]:
        """Return the line as a row of a table."""
        return {column.name: getattr(self, column.name) for column in COLUMNS}

    def text(self) -> str:
        """Return the line as it is printed."""
        count = "" if self.count is None else f"{self.count}" + (f" of {self.of}" if self.of else "")
        interval = "" if math.isnan(self.low) else f"{self.low:.2f} to {self.high:.2f}"
        behind = "" if self.scans is None else f"{self.scans} scans, {self.people} people"
        value = "n/a" if math.isnan(self.value) else f"{self.value:.3f}".rstrip("0").rstrip(".")
        return "\t".join(["", self.what, self.group, value, count, interval, behind, self.must])


def share(what: str, group: str, hits: Sequence[bool], stems: Iterable[str], must: str = "") -> Line:
    """Return the line of a share, with Wilson's interval; what is simulated has no scans behind it."""
    stems, n = set(stems), len(hits)
    low, high = wilson(sum(hits), n)
    value = sum(hits) / n if n else NAN
    scans, people = (len(stems), people_in(stems)) if stems else (None, None)
    return Line(what, group, value, sum(hits), n, low, high, scans, people, must)


def total(what: str, group: str, count: int, stems: Iterable[str], must: str = "") -> Line:
    """Return the line of a number of false lesions, with the exact Poisson interval."""
    stems = set(stems)
    low, high = poisson(count)
    return Line(what, group, count, count, None, low, high, len(stems), people_in(stems), must)


def rate(what: str, group: str, count: int, looks: int, stems: Iterable[str], must: str = "") -> Line:
    """Return the line of false lesions a look, with the exact Poisson interval."""
    stems = set(stems)
    low, high = (end / looks for end in poisson(count)) if looks else (NAN, NAN)
    value = count / looks if looks else NAN
    return Line(what, group, value, count, looks, low, high, len(stems), people_in(stems), must)


def mean(what: str, group: str, values: Sequence[float], stems: Iterable[str], must: str = "") -> Line:
    """Return the line of a mean over scans, without an interval."""
    stems = set(stems)
    value = sum(values) / len(values) if values else NAN
    return Line(
        what, group, value, None, len(values), scans=len(stems), people=people_in(stems), must=must
    )  # fmt: skip


def printed(lines: Iterable[Line]) -> Iterator[str]:
    """Yield the table."""
    yield "\twhat\tgroup\tvalue\tcount\t95 % interval\tbehind it\tmust reach"
    for line in lines:
        yield line.text()


def write(path: Path, lines: Iterable[Line]) -> None:
    """Write the table."""
    write_table(path, COLUMNS, [line.cells() for line in lines])
