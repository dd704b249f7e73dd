"""One lesion in the overlap of two stations: which lesions of the units of one session are the same.

Units of a session share the scanner's space. What is known of a lesion there is its centre, its length along the cord, and its
volume, hence the radius of a cylinder as long and as large.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

#: Motion between two stations, mm.
SLACK_MM = 1.0


@dataclass(frozen=True)
class Place:
    """Where a lesion lies: its unit, centre (RAS+ mm), length along the cord (mm) and volume (mm3)."""

    unit: str
    centre_mm: tuple[float, float, float]
    length_mm: float
    volume_mm3: float

    @property
    def radius_mm(self) -> float:
        """Radius of a cylinder of the lesion's length and volume."""
        return math.sqrt(self.volume_mm3 / (math.pi * self.length_mm)) if self.length_mm > 0 else 0.0


def same_lesions(places: Sequence[Place]) -> dict[int, int]:
    """Return, for each lesion that is the same as an earlier one of another unit, the number of that one.

    Two lesions are the same if they overlap along the cord and, seen along it, touch within `SLACK_MM`. A lesion has at most
    one partner in each other unit: the nearest pairs are joined first.
    """
    candidates = sorted(
        (gap, i, j)
        for i, one in enumerate(places)
        for j, other in enumerate(places[:i])
        if one.unit != other.unit and (gap := _gap_mm(one, other)) is not None
    )
    partner: dict[int, int] = {}
    taken: set[tuple[int, str]] = set()
    for _, i, j in candidates:
        if (i, places[j].unit) in taken or (j, places[i].unit) in taken:
            continue
        taken |= {(i, places[j].unit), (j, places[i].unit)}
        partner[i] = min(j, partner.get(i, j))
    return {i: _first(i, partner) for i in partner}


def _first(number: int, partner: dict[int, int]) -> int:
    """Follow a chain of stations to the first lesion of it."""
    while number in partner:
        number = partner[number]
    return number


def _gap_mm(one: Place, other: Place) -> float | None:
    """Return the distance of two centres where the lesions touch, else None."""
    x, y, z = (a - b for a, b in zip(one.centre_mm, other.centre_mm, strict=True))
    touching = (
        abs(z) <= (one.length_mm + other.length_mm) / 2
        and math.hypot(x, y) <= one.radius_mm + other.radius_mm + SLACK_MM
    )
    return math.sqrt(x * x + y * y + z * z) if touching else None
