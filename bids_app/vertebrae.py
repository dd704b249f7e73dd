"""Vertebral levels along the cord: their names, and whether labels can be believed.

Labels are those of Spinal Cord Toolbox: 1 to 7 for C1 to C7, 8 to 19 for T1 to T12, 20 to 24 for L1 to L5.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .centreline import levels_of
from .space import Grid

NAMES = (
    *(f"C{number}" for number in range(1, 8)),
    *(f"T{number}" for number in range(1, 13)),
    *(f"L{number}" for number in range(1, 6)),
)
#: Least and largest height of a vertebra with its disc, mm, for the cervical, thoracic and lumbar spine: wide enough for small
#: and large adults, narrow enough to notice labels of the wrong region, or twice too many of them.
HEIGHTS_MM = {"C": (9.0, 22.0), "T": (14.0, 36.0), "L": (22.0, 48.0)}
#: At least this share of what is labelled lies in the cord.
LEAST_INSIDE = 0.8


def name_of(value: int) -> str:
    """Return the name of a label; empty for a value that has none."""
    return NAMES[value - 1] if 1 <= value <= len(NAMES) else ""


def fault_of(labels: NDArray[np.integer], cord: NDArray[np.bool_], grid: Grid) -> str:
    """Say why labels cannot be believed; empty where they can.

    Parameters
    ----------
    labels : array of int, shape grid.shape
        0 where nothing is labelled.
    cord : array of bool, shape grid.shape
        Cord mask.
    grid : Grid
    """
    labelled = labels > 0
    if not labelled.any():
        return "nothing is labelled"
    if strange := sorted(set(np.unique(labels[labelled]).tolist()) - set(range(1, len(NAMES) + 1))):
        return f"the value {strange[0]} is no vertebra of the neck, chest or loin"
    inside = float((labelled & cord).sum() / labelled.sum())
    if inside < LEAST_INSIDE:
        return f"only {inside:.0%} of what is labelled lies in the cord"
    values, step_mm = _from_the_head_down(labels, grid)
    # From the head down, vertebra follows vertebra.
    steps = np.diff(values)
    if (steps < 0).any():
        return (
            f"{name_of(int(values[1:][steps < 0][0]))} comes below {name_of(int(values[:-1][steps < 0][0]))}"
        )
    if (steps > 1).any():
        return f"between {name_of(int(values[:-1][steps > 1][0]))} and {name_of(int(values[1:][steps > 1][0]))} there is a gap"
    # The first and the last one may be cut; C1 and C2 lie around the dens, and are labelled in many ways.
    for value in np.unique(values)[1:-1]:
        name, height = name_of(int(value)), float((values == value).sum() * step_mm)
        low, high = HEIGHTS_MM[name[0]]
        if value > 2 and not low <= height <= high:
            return f"{name} would be {height:.0f} mm high ({low:.0f} to {high:.0f} mm are plausible)"
    return ""


def _from_the_head_down(labels: NDArray[np.integer], grid: Grid) -> tuple[NDArray[np.int64], float]:
    """Return the commonest label of each slice that has one, and the distance between slices, mm."""
    levels = levels_of(labels > 0, grid)
    slices = np.moveaxis(labels, levels.axis, 0)[levels.index]
    values = np.array([np.bincount(part[part > 0]).argmax() for part in slices])
    upwards = grid.affine[2, levels.axis] > 0
    return values[::-1] if upwards else values, levels.step_mm


def at_slices(labels: NDArray[np.integer]) -> NDArray[np.uint8]:
    """Return the commonest label in each slice of a crop, shape (N,); 0 where there is none.

    Parameters
    ----------
    labels : array of int, shape (X, Y, N)
    """
    result = np.zeros(labels.shape[2], np.uint8)
    for number in range(labels.shape[2]):
        here = labels[..., number]
        if here.any():
            result[number] = np.bincount(here[here > 0]).argmax()
    return result


def of_lesion(inside: NDArray[np.bool_], levels: NDArray[np.uint8]) -> str:
    """Return the name of the level at which most of a lesion lies; empty where none is known.

    Parameters
    ----------
    inside : array of bool, shape (X, Y, N)
    levels : array, shape (N,)
        Label of each slice, 0 where unknown.
    """
    voxels = np.bincount(levels, weights=inside.sum(axis=(0, 1)), minlength=2)
    return name_of(int(voxels[1:].argmax()) + 1) if voxels[1:].any() else ""
