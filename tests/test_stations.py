from __future__ import annotations

import pytest

from bids_app.stations import Place, same_lesions


def place(unit, x=0.0, y=0.0, z=0.0, length=10.0, volume=100.0):
    return Place(unit, (x, y, z), length, volume)


def test_radius_is_that_of_a_cylinder():
    assert place("a", length=10, volume=10 * 3.14159265 * 4).radius_mm == pytest.approx(2.0)
    assert place("a", length=0).radius_mm == 0


def test_lesions_that_touch_across_units_are_one():
    assert same_lesions([place("a"), place("b", x=1, z=3)]) == {1: 0}
    assert same_lesions([place("a"), place("a", x=1, z=3)]) == {}
    assert same_lesions([place("a"), place("b", z=11)]) == {}
    # The radius of each is 1.8 mm.
    assert same_lesions([place("a"), place("b", x=4.5)]) == {1: 0}
    assert same_lesions([place("a"), place("b", x=4.7)]) == {}
    assert same_lesions([]) == {}


def test_the_nearest_pairs_are_joined_and_each_lesion_has_one_partner():
    places = [place("a", z=0), place("a", z=8), place("b", z=7), place("b", z=1)]
    assert same_lesions(places) == {2: 1, 3: 0}
    assert same_lesions([place("a"), place("b", x=1), place("b", x=2)]) == {1: 0}


def test_a_chain_of_three_stations_is_one_lesion():
    assert same_lesions([place("a"), place("b", z=8), place("c", z=16)]) == {1: 0, 2: 0}
