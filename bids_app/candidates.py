"""Candidates for the centreline of the cord: smooth paths through a map of probabilities."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from .space import FloatArray

#: A path may move this many voxels in plane from slice to slice (63 degrees), and pays this much for each voxel squared.
REACH, STEP_COST = 2, 0.02
#: Probability along a path from which the cord may be there: the second network decides.
POSSIBLE = 0.25
#: So many slices in a row must be possible, or all that the image has.
LEAST_RUN = 4
#: At most so many paths, each at least this many voxels beside the others.
MOST_PATHS, APART = 4, 5.0


@dataclass(frozen=True, eq=False)
class Candidate:
    """A path.

    Attributes
    ----------
    index : array, shape (M, 3)
        Voxels of the map, continuous in plane, bottom to top, without gaps.
    mean : float
        Mean probability next to the path, where the cord may be.
    """

    index: FloatArray
    mean: float


def candidates(probability: NDArray[np.float32]) -> list[Candidate]:
    """Return paths along which a cord may lie, the most probable first.

    Each path runs from the first to the last slice in which the cord is possible: gaps are bridged, and what lies in them is for
    others to judge.

    Parameters
    ----------
    probability : array, shape (X, Y, N)
    """
    left = probability.copy()
    found: list[Candidate] = []
    for _ in range(MOST_PATHS):
        path, along = best_path(left)
        possible = _runs(along >= POSSIBLE)
        if not possible.any():
            break
        slices = np.flatnonzero(possible)
        part = np.arange(slices[0], slices[-1] + 1)
        smooth = ndimage.gaussian_filter1d(path[part], 2.0, axis=0, mode="nearest")
        found.append(Candidate(np.column_stack([smooth, part]), float(along[possible].mean())))
        _clear(left, path, part)
    return sorted(found, key=lambda one: -one.mean * len(one.index))


def _runs(possible: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return the slices that belong to runs of some length."""
    labels, count = ndimage.label(possible)
    sizes = np.bincount(labels, minlength=count + 1)
    return np.asarray(possible & (sizes[labels] >= min(LEAST_RUN, len(possible))))


def _clear(probability: NDArray[np.float32], path: FloatArray, slices: NDArray[np.int64]) -> None:
    """Set a map to 0 around a path, in place."""
    i, j = np.ogrid[: probability.shape[0], : probability.shape[1]]
    for k in slices:
        near = (i - path[k, 0]) ** 2 + (j - path[k, 1]) ** 2 <= APART**2
        probability[..., k][near] = 0


def best_path(probability: NDArray[np.float32]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the most probable path through a map, one point a slice along the last axis.

    Dynamic programming over slices: the path gains the probability under it and pays for every sideways step.

    Parameters
    ----------
    probability : array, shape (X, Y, N)

    Returns
    -------
    path : array, shape (N, 2)
        In-plane position in voxels, refined to the local centre of mass.
    along : array, shape (N,)
        Highest probability next to the path in each slice.
    """
    smooth = ndimage.uniform_filter(probability, (3, 3, 3), mode="constant")
    gain = smooth[..., 0].astype(np.float64)
    steps: list[NDArray[np.int64]] = []
    offsets = [(a, b) for a in range(-REACH, REACH + 1) for b in range(-REACH, REACH + 1)]
    for k in range(1, probability.shape[2]):
        padded = np.pad(gain, REACH, constant_values=-np.inf)
        moved = np.stack(
            [
                padded[REACH + a : REACH + a + gain.shape[0], REACH + b : REACH + b + gain.shape[1]]
                - STEP_COST * (a * a + b * b)
                for a, b in offsets
            ]
        )
        choice = moved.argmax(axis=0)
        steps.append(choice)
        gain = np.take_along_axis(moved, choice[None], 0)[0] + smooth[..., k]
    at = np.array(np.unravel_index(int(gain.argmax()), gain.shape))
    path = [at]
    for choice in reversed(steps):
        at = at + np.array(offsets[int(choice[tuple(at)])])
        path.append(at)
    track = np.array(path[::-1])
    refined, along = track.astype(float), np.zeros(len(track))
    for k, (i, j) in enumerate(track):
        low = np.maximum((i - 3, j - 3), 0)
        block = probability[low[0] : i + 4, low[1] : j + 4, k]
        along[k] = block.max()
        if block.sum() > 0.5:
            refined[k] = np.array(ndimage.center_of_mass(block)) + low
    return refined, along
