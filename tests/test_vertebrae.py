"""Vertebral levels: names, and labels that cannot be believed."""

from __future__ import annotations

import numpy as np
import pytest
from fakes_cord import GRIDS, cord_mask, make_grid, points_of

from bids_app import vertebrae


def labelled(grid, first=3, height_mm=15.0):
    """Labels from the top of a made-up cord down, every vertebra of the same height."""
    mask = cord_mask(grid)
    height = points_of(grid)[..., 0, 2]
    values = first + ((height[mask].max() - height) / height_mm).astype(int)
    return np.where(mask, values, 0), mask


def test_labels_have_the_names_of_vertebrae():
    assert [vertebrae.name_of(value) for value in (1, 7, 8, 19, 20, 24)] == [
        "C1",
        "C7",
        "T1",
        "T12",
        "L1",
        "L5",
    ]
    assert vertebrae.name_of(0) == vertebrae.name_of(25) == ""


@pytest.mark.parametrize(("codes", "spacing", "tilt"), GRIDS)
def test_vertebrae_in_their_order_are_believed_on_every_grid(codes, spacing, tilt):
    grid = make_grid(codes, spacing, tilt)
    assert vertebrae.fault_of(*labelled(grid), grid) == ""


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda labels: labels * 0, "nothing is labelled"),
        (lambda labels: np.where(labels == 5, 90, labels), "the value 90 is no vertebra"),
        (lambda labels: np.where(labels > 0, 12 - labels, 0), "comes below"),
        (lambda labels: np.where(labels > 4, labels + 2, labels), "between C4 and C7 there is a gap"),
        (lambda labels: np.roll(labels, 15, axis=0), "lies in the cord"),
    ],
)
def test_labels_that_cannot_be_are_refused(change, words):
    grid = make_grid()
    labels, mask = labelled(grid)
    assert words in vertebrae.fault_of(change(labels), mask, grid)


@pytest.mark.parametrize(
    ("first", "height_mm", "words"),
    # Ten levels in 96 mm, as SCT once gave; a chest taken for a neck; and the other way round.
    [
        (1, 6.0, "C3 would be 6 mm high (9 to 22 mm are plausible)"),
        (3, 25.0, "C4 would be 25 mm"),
        (9, 10.0, "T3 would be 10 mm"),
    ],
)
def test_heights_of_another_region_are_noticed(first, height_mm, words):
    grid = make_grid()
    assert words in vertebrae.fault_of(*labelled(grid, first, height_mm), grid)


def test_a_lesion_belongs_to_the_level_of_most_of_its_voxels():
    labels = np.zeros((4, 4, 12), int)
    labels[1, 1, 2:6], labels[1, 1, 6:10], labels[2, 2, 6] = 4, 5, 4
    levels = vertebrae.at_slices(labels)
    assert levels.tolist() == [0, 0, 4, 4, 4, 4, 4, 5, 5, 5, 0, 0]
    inside = np.zeros((4, 4, 12), bool)
    inside[0, 0, 5:12] = True
    assert vertebrae.of_lesion(inside, levels) == "C5"
    inside[:3, :3, 5] = True
    assert vertebrae.of_lesion(inside, levels) == "C4"
    inside[..., :10] = False
    assert vertebrae.of_lesion(inside, levels) == ""
