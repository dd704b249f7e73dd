"""The order of the sessions of one person."""

from __future__ import annotations

from itertools import pairwise

import pytest

from bids_app.visits import Order, in_order


def orders(*sessions: str, **times: dict[str, str]) -> list[tuple[str, str, str]]:
    found = in_order({name: times.get(name, {}) for name in sessions or times})
    return [(order.before, order.after, order.by) for order in found]


@pytest.mark.parametrize(
    ("sessions", "expected"),
    [
        (["M12", "M6", "M0"], "M0 M6 M12"),
        (["ses-10", "ses-2"], "ses-2 ses-10"),
        (["20200101", "20190301"], "20190301 20200101"),
        (["v2m1", "v1m12", "V1m3"], "V1m3 v1m12 v2m1"),
    ],
)
def test_numbers_in_labels_count_as_numbers(sessions, expected):
    names = expected.split()
    assert orders(*sessions) == [(*pair, "labels") for pair in pairwise(names)]


@pytest.mark.parametrize(
    "sessions",
    [("pre", "post"), ("A", "B"), ("baseline", "M6"), ("1", "01"), ("M6", "M6rep"), ("1pre", "2post")],
)
def test_words_say_nothing_of_the_order(sessions):
    assert [by for _, _, by in orders(*sessions)] == ["unknown"]


def test_what_is_known_of_some_sessions_stays_known():
    assert orders("M12", "unscheduled", "M6") == [("M6", "M12", "labels"), ("M12", "unscheduled", "unknown")]


def day(number: int) -> str:
    return f"2020-01-{number:02d}T00:00:00"


def test_the_first_place_counts_that_knows_all_sessions():
    a = {"scans.tsv": day(9), "sidecar": day(1)}
    b = {"sidecar": day(2), "sessions.tsv": day(1)}
    assert orders(a=a, b=b) == [("a", "b", "sidecar")]
    assert orders(a=a, b=b | {"scans.tsv": day(3)}) == [("b", "a", "scans.tsv")]


def test_equal_or_missing_times_leave_it_to_the_labels():
    """Dates that were all made the same to protect people tell nothing."""
    assert orders(M10={"sidecar": day(1)}, M9={"sidecar": day(1)}) == [("M9", "M10", "labels")]
    assert orders(post={"sidecar": day(1)}, pre={}) == [("post", "pre", "unknown")]


def test_few_sessions():
    assert in_order({}) == []
    assert in_order({"A": {}}) == []
    assert in_order({"1": {}, "2": {}}) == [Order("1", "2", "labels")]
