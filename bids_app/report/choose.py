"""Which slices are drawn when there is not room for all of them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Choice:
    """Slices to draw.

    Attributes
    ----------
    slices : tuple of int
        In rising order.
    left_out : int
        How many more there were.
    undrawn : tuple of int
        Lesion numbers that are on none of ``slices``.
    """

    slices: tuple[int, ...]
    left_out: int
    undrawn: tuple[int, ...]


def choose_slices(instances: NDArray[np.integer], axis: int, limit: int, step: int = 1) -> Choice:
    """Choose slices so that every lesion is drawn where it is largest before any is drawn twice.

    Parameters
    ----------
    instances : array of int, 3D
        Lesion numbers, 0 elsewhere.
    axis : int
        The slice axis.
    limit : int
        At most this many slices.
    step : int
        After its largest slice, a lesion gets a further one every ``step`` slices; 1: all of them. A lesion
        that another lesion's slice shows already, less than half a step away, needs none of its own.
    """
    numbers, areas = _areas(instances, axis)
    kept: list[int] = []
    left_out: set[int] = set()
    for row, position in _wishes(areas, step):
        near = range(position - (step - 1) // 2, position + (step - 1) // 2 + 1)
        if any(other in near and areas[row, other] for other in kept):
            continue
        if len(kept) < limit:
            kept.append(position)
        else:
            left_out.add(position)
    undrawn = tuple(int(n) for n, area in zip(numbers, areas, strict=True) if not area[kept].any())
    return Choice(tuple(sorted(kept)), len(left_out), undrawn)


def _areas(instances: NDArray[np.integer], axis: int) -> tuple[NDArray[np.integer], NDArray[np.int64]]:
    """Return the lesion numbers and the voxels of each in every slice, shape (lesions, slices)."""
    where = np.nonzero(instances)
    numbers, rows = np.unique(instances[where], return_inverse=True)
    areas = np.zeros((len(numbers), instances.shape[axis]), np.int64)
    np.add.at(areas, (rows, where[axis]), 1)
    return numbers, areas


def _wishes(areas: NDArray[np.int64], step: int) -> list[tuple[int, int]]:
    """Return (row, slice), most important first: the largest slice of each lesion, then the rest."""
    order = np.argsort(-areas.sum(axis=1), kind="stable")
    peaks = areas.argmax(axis=1)
    first = [(int(row), int(peaks[row])) for row in order]
    rest = [
        (int(row), int(position))
        for row in order
        for position in np.flatnonzero(areas[row])
        if position != peaks[row] and (position - peaks[row]) % step == 0
    ]
    return first + rest
