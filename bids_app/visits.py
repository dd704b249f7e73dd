"""The order of the sessions of one person: by when they were acquired, else by the numbers in their labels."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise

log = logging.getLogger(__name__)

#: Where a time of acquisition may stand, the best place first. Dates are often shifted to protect people, and not alike in all
#: places: times of two places are never compared.
PLACES = SCANS, SESSIONS, SIDECAR = "scans.tsv", "sessions.tsv", "sidecar"
#: Beside these, what the order of two sessions is known from.
BY_LABEL, UNKNOWN = "labels", "unknown"
Times = Mapping[str, str]


@dataclass(frozen=True)
class Order:
    """Two sessions that follow each other.

    Attributes
    ----------
    before, after : str
        Labels, with or without ``ses-``.
    by : str
        What the order is known from: one of `PLACES`, `BY_LABEL`, or `UNKNOWN`.
    """

    before: str
    after: str
    by: str


def in_order(sessions: Mapping[str, Times]) -> list[Order]:
    """Put the sessions of a person in order, as pairs that follow each other.

    Parameters
    ----------
    sessions : mapping of str to mapping
        By label, when each was acquired (ISO 8601), by the place where that stands. The first place counts that tells all
        sessions apart.

    Returns
    -------
    list of Order
        One less than there are sessions. Labels tell the order of sessions whose labels differ in their numbers alone (M6, M12).
    """
    by_label = sorted(sessions, key=_natural)
    for place in PLACES:
        times = {label: found[place] for label, found in sessions.items() if place in found}
        if len(times) == len(sessions) == len(set(times.values())):
            by_time = sorted(sessions, key=times.__getitem__)
            if by_time != by_label and all(_told(one, other) for one, other in pairwise(by_label)):
                log.warning(
                    "%s were acquired in this order by %s: that counts, not the labels.",
                    ", ".join(by_time),
                    place,
                )
            return [Order(one, other, place) for one, other in pairwise(by_time)]
    return [
        Order(one, other, BY_LABEL if _told(one, other) else UNKNOWN) for one, other in pairwise(by_label)
    ]


def _natural(label: str) -> tuple[str, list[int], str]:
    """Return what sorts labels: the words, then the numbers as numbers."""
    return re.sub(r"\d+", "#", label).casefold(), [int(number) for number in re.findall(r"\d+", label)], label


def _told(one: str, other: str) -> bool:
    """Tell whether two labels say which is earlier: the same words with other numbers."""
    return _natural(one)[0] == _natural(other)[0] and _natural(one)[1] != _natural(other)[1]
