"""Windows over an array and back: the patch policy that training and inference share."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import product

import numpy as np
from numpy.typing import NDArray

from .space import FloatArray


def window_starts(length: int, size: int, overlap: float = 0.5) -> list[int]:
    """Return the first index of each window along one axis: evenly spaced, none past the end.

    Neighbours share at least the fraction ``overlap``. A length below the window's size gives the one start 0: the caller pads.
    """
    if length <= size:
        return [0]
    count = 1 + int(np.ceil((length - size) / (size * (1 - overlap))))
    return [round(start) for start in np.linspace(0, length - size, count)]


def windows(
    shape: tuple[int, ...], size: tuple[int, ...], overlap: float = 0.5
) -> Iterator[tuple[slice, ...]]:
    """Yield the windows of an array, last axis fastest."""
    for corner in product(*[window_starts(n, m, overlap) for n, m in zip(shape, size, strict=True)]):
        yield tuple(slice(a, a + m) for a, m in zip(corner, size, strict=True))


def blend_weight(size: tuple[int, ...]) -> NDArray[np.float32]:
    """Return the weight of a window's voxels: highest in the middle, above 0 everywhere."""
    weight = np.ones((), np.float32)
    for n in size:
        ramp = np.minimum(np.arange(n) + 0.5, n - np.arange(n) - 0.5) / (n / 2)
        weight = weight[..., None] * np.clip(2 * ramp, 0.05, 1).astype(np.float32)
    return np.asarray(weight, np.float32)


def tiled(
    shape: tuple[int, ...],
    size: tuple[int, ...],
    predict: Callable[[tuple[slice, ...]], FloatArray | None],
    overlap: float = 0.5,
) -> NDArray[np.float32]:
    """Run a predictor window by window and blend the results.

    Parameters
    ----------
    shape : tuple of int
        Of the whole; each axis at least the window's size.
    size : tuple of int
        Of a window.
    predict : callable
        Gets a window (slices), returns an array of ``size``, or None to leave 0 there.
    overlap : float
        Least fraction that neighbours share along each axis.
    """
    total, weight = np.zeros(shape, np.float32), np.full(shape, 1e-6, np.float32)
    one = blend_weight(size)
    for window in windows(shape, size, overlap):
        values = predict(window)
        weight[window] += one
        if values is not None:
            total[window] += one * values
    return np.asarray(total / weight, np.float32)
