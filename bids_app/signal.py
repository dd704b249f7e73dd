"""Where an image has data, and what its zero is: the first thing that is done to a native image.

Padding, stitched black and masks are no tissue; one stray voxel says nothing of the signal's zero. Everything that works on
signal (both networks of the localiser, alignment, the crop) starts from what `find_signal` returns.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import product
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from .errors import BadImageError
from .images import read_volume
from .space import FloatArray, Grid

#: A constant region counts from this share of the image; less may be chance and does no harm.
LEAST_SHARE = 0.001
#: A slice with fewer voxels with data, or a smaller share of it, is not judged by their being equal.
LEAST_IN_SLICE, WHOLE = 16, 0.9
#: What is told must concern this share of the image; slices without data at its ends, which many scanners write, the second.
TOLD_SHARE, TOLD_ENDS = 0.01, 0.05
#: An image with less data than this is refused.
LEAST_DATA = 0.01
#: Percentiles of the voxels with data that stand for the lowest and the highest signal.
LOW, HIGH = 1.0, 99.0
#: Values below 0 by more than this share of the range are no noise around 0; nor are those by more than the second share, where
#: the middle one of all negative values comes as near to the lowest as the third says (for noise it is a third of the way).
PLAIN_NEGATIVE, SOME_NEGATIVE, NEAR_LOWEST = 0.1, 0.01, 0.6
#: An image whose lowest signal lies further from 0 than this many times its range rides on a constant.
PLAIN_OFFSET = 2.0
#: What is added, or lost, where unsigned numbers are read as signed.
HALF_SHORT, SHORT = 32768.0, 65536.0
#: The lowest signal lies this near to such an offset, as a share of the range.
NEAR_OFFSET = 0.05
#: An overflow makes neighbours jump by more than half of the range, so often at least; put right, at most this share is left.
LEAST_JUMPS, LEFT_JUMPS = 20, 0.1
#: Ends of the ranges in which UNIT1 images (MP2RAGE) come with negative values; their zero is the lower end.
UNIFORM_ENDS = (0.5, 1.0, 2048.0, 4095.0)
#: No more than this share of a UNIT1 image lies beyond the ends of its range.
BEYOND_ENDS = 0.001
UNIFORM = "MP2RAGE"


@dataclass(frozen=True, eq=False)
class Signal:
    """An image as signal.

    Attributes
    ----------
    values : array, shape (I, J, K), float32
        Signal less its zero: 0 means no signal. 0 where there are no data.
    valid : array of bool, same shape
        Where there are data.
    zero : float
        What the file holds where there is no signal.
    notes : tuple of str
        What was found and done, as sentences.
    """

    values: NDArray[np.float32]
    valid: NDArray[np.bool_]
    zero: float
    notes: tuple[str, ...] = field(default=())


def read_signal(path: Path, sequence: str = "") -> tuple[Signal, Grid]:
    """Read an image as signal; see `find_signal` and `images.read_volume`.

    Raises
    ------
    BadImageError
        The image cannot be read, or holds hardly any data.
    """
    volume, grid = read_volume(path)
    found = find_signal(volume, sequence)
    share = float(found.valid.mean())
    if share < LEAST_DATA:
        raise BadImageError(f"{path.name} is empty: only {100 * share:.2g} % of its voxels hold data.")
    return found, grid


def find_signal(volume: FloatArray, sequence: str = "") -> Signal:
    """Find where an image has data and what its zero is.

    Parameters
    ----------
    volume : array, shape (I, J, K)
        As the file holds it; NaN and infinite values are allowed.
    sequence : str
        Name in the table of sequences, where it is known: `UNIFORM` has a defined zero.

    Returns
    -------
    Signal
        Ordinary magnitude images keep their values: the zero is moved only where negative values or an offset are plain.
    """
    valid, notes = find_valid(volume)
    values = np.where(valid, volume, np.float32(0)).astype(np.float32)
    inside = values[valid]
    if not inside.size:
        return Signal(values, valid, 0.0, tuple(notes))
    overflow = _overflown(values, valid)
    if overflow is not None:
        values, inside = overflow, overflow[valid]
        share = 100 * float((volume[valid] < 0).sum()) / volume.size
        notes.append(
            f"{share:.2g} % of the image are negative because of an overflow: {SHORT:.0f} was added there"
        )
    zero, note = _uniform_zero(inside) if sequence == UNIFORM else (None, "")
    if zero is None:
        zero, note = _zero_of(inside)
    if note:
        share = 100 * float(valid.mean())
        notes.append(f"{note} ({share:.2g} % of the image)")
    if zero != 0:
        values = np.where(valid, values - np.float32(zero), np.float32(0))
    return Signal(values, valid, zero, tuple(notes))


def find_valid(volume: FloatArray) -> tuple[NDArray[np.bool_], list[str]]:
    """Return where an image has data, and notes on where it has none.

    No data: non-finite voxels; regions of one value that hold a corner of the image (padding, stitched black, masks), or
    reach a face of it where the value is the lowest; and whole slices of one value. The highest value counts in whole slices
    only: it may be tissue beyond the range. Scattered equal voxels and constant regions inside the body are data.

    Parameters
    ----------
    volume : array, shape (I, J, K)
    """
    valid = np.isfinite(volume)
    notes = []
    lost = 1 - float(valid.mean())
    if lost:
        notes.append(f"{_percent(lost)} of the image are no numbers (NaN or infinite) and count as no data")
    odd, first = 0.0, True
    part = block_of(valid)
    while True:
        region, values = _without_data(volume[part], valid[part], first)
        odd += float((region & (values != 0)).sum()) / volume.size
        valid[part] &= ~region
        inner = block_of(valid)
        if inner == part or not valid.any():
            break
        # What lay within padding has a border of its own now.
        part, first = inner, False
    empty = float(_in_empty_slices(valid).mean())
    within = float(_in_empty_slices(valid[block_of(valid)]).sum()) / volume.size
    if odd >= TOLD_SHARE:
        notes.append(
            f"{_percent(odd)} of the image hold one and the same value at its border and count as no data"
        )
    elif empty - lost >= TOLD_ENDS or within - lost >= TOLD_SHARE:
        notes.append(f"{_percent(empty)} of the image are slices without data")
    return valid, notes


def block_of(valid: NDArray[np.bool_]) -> tuple[slice, slice, slice]:
    """Return the smallest block that holds all data; an empty one where there are none."""
    i, j, k = (
        np.flatnonzero(valid.any(axis=tuple(other for other in range(3) if other != axis)))
        for axis in range(3)
    )
    if not len(i):
        return (slice(0, 0), slice(0, 0), slice(0, 0))
    return (slice(i[0], i[-1] + 1), slice(j[0], j[-1] + 1), slice(k[0], k[-1] + 1))


def _without_data(
    volume: FloatArray, valid: NDArray[np.bool_], first: bool
) -> tuple[NDArray[np.bool_], FloatArray]:
    """Return where a block has no data: constant regions at its border, constant slices; and its values, 0 for NaN.

    ``first`` says that the block is the whole image: the lowest value then counts at its faces, too.
    """
    region = np.zeros(volume.shape, bool)
    values = np.where(np.isfinite(volume), volume, 0)
    if not valid.any():
        return region, values
    lowest, highest = float(volume[valid].min()), float(volume[valid].max())
    for value in _border_values(volume, lowest, highest):
        found = valid & _border_region(volume == value, everywhere=first and value == lowest)
        if float(found.mean()) >= LEAST_SHARE:
            region |= found
    return region | _constant_slices(volume, valid & ~region), values


def _in_empty_slices(valid: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return which voxels lie in a slice, along any axis, without a voxel with data."""
    i, j, k = (np.asarray(valid.any(axis=others)) for others in ((1, 2), (0, 2), (0, 1)))
    full = np.logical_and.outer(np.logical_and.outer(i, j), k)
    return np.asarray(~full)


def _percent(share: float) -> str:
    return f"{max(100 * share, 0.01):.2g} %"


def _border_values(volume: FloatArray, lowest: float, highest: float) -> list[float]:
    """Return the values that may fill a region at the border: the lowest, and those of which a corner shows a square."""
    found = {lowest}
    for corner in product((slice(0, 3), slice(-3, None)), repeat=3):
        block = volume[corner]
        value = float(block[tuple(0 if part.start == 0 else -1 for part in corner)])
        outer = (np.take(block, 0 if part.start == 0 else -1, axis) for axis, part in enumerate(corner))
        if value != highest and any(bool((square == value).all()) for square in outer):
            found.add(value)
    return sorted(found)


def _border_region(same: NDArray[np.bool_], everywhere: bool) -> NDArray[np.bool_]:
    """Return the solid parts of a mask that hold a corner of the image, or reach any face where ``everywhere`` says so.

    Solid: made up of squares of 3 x 3 voxels in any of the three planes, so that chance does not string voxels together. The
    result does not depend on the order of the axes.
    """
    solid = np.zeros(same.shape, bool)
    if float(same.mean()) < LEAST_SHARE:
        return solid
    for axis in range(3):
        square = np.expand_dims(np.ones((3, 3), bool), axis)
        core = ndimage.binary_erosion(same, square, border_value=1)
        solid |= same & ndimage.binary_dilation(core, square)
    labels, count = ndimage.label(solid)
    if not count:
        return solid
    reached = np.zeros(count + 1, bool)
    ends = (0, -1)
    reached[labels[np.ix_(ends, ends, ends)]] = True
    if everywhere:
        for axis in range(3):
            reached[labels.take(ends, axis=axis)] = True
    reached[0] = False
    sizes = np.bincount(labels.ravel())
    reached &= sizes >= max(1.0, 0.1 * LEAST_SHARE * same.size)
    return np.asarray(reached[labels])


def _constant_slices(volume: FloatArray, valid: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return which voxels with data lie in slices whose voxels with data are all equal, and nearly all there are."""
    empty = np.zeros(volume.shape, bool)
    low, high = (np.where(valid, volume, bound) for bound in (np.inf, -np.inf))
    for axis in range(3):
        others = tuple(a for a in range(3) if a != axis)
        enough = valid.sum(axis=others) >= max(LEAST_IN_SLICE, WHOLE * volume.size / volume.shape[axis])
        constant = enough & (low.min(axis=others) == high.max(axis=others))
        np.moveaxis(empty, axis, 0)[constant] = True
    return empty & valid


def _overflown(values: NDArray[np.float32], valid: NDArray[np.bool_]) -> NDArray[np.float32] | None:
    """Return whole numbers above 32767 that were read as negative ones put right, or None where that is not plain.

    Plain: all are whole, some are far below 0, and the jumps between neighbours vanish.
    """
    inside = values[valid]
    low, high = float(inside.min()), float(inside.max())
    if not (-HALF_SHORT <= low < -HALF_SHORT / 2 and 0 < high < HALF_SHORT):
        return None
    if not np.array_equal(inside, np.round(inside)):
        return None
    mended = np.where(valid & (values < 0), values + np.float32(SHORT), values)
    before = _jumps(values)
    return mended if before >= LEAST_JUMPS and _jumps(mended) < LEFT_JUMPS * before else None


def _jumps(values: NDArray[np.float32]) -> int:
    """Return how many neighbours differ by more than half of the range of 16 bits."""
    return sum(int((np.abs(np.diff(values, axis=axis)) > HALF_SHORT).sum()) for axis in range(3))


def _uniform_zero(inside: NDArray[np.float32]) -> tuple[float | None, str]:
    """Return the zero of a UNIT1 image: the lower end of its range; None where its values fit none."""
    if float(np.percentile(inside, LOW)) >= 0:
        return (0.0, "") if _fits(inside, 4096.0) else (None, "")
    end = next((end for end in UNIFORM_ENDS if _fits(inside, end)), None)
    if end is None:
        return None, ""
    # Its defined zero: nothing is odd about it.
    return -end, ""


def _fits(inside: NDArray[np.float32], end: float) -> bool:
    return float((np.abs(inside) > 1.001 * end).mean()) <= BEYOND_ENDS


def _zero_of(inside: NDArray[np.float32]) -> tuple[float, str]:
    """Return the zero of the voxels with data, and what to say of it: 0 and nothing for ordinary images."""
    low, high = (float(value) for value in np.percentile(inside, (LOW, HIGH)))
    span = high - low
    for offset in (HALF_SHORT, -HALF_SHORT):
        if abs(low - offset) <= NEAR_OFFSET * span:
            return offset, f"Its values are shifted by {offset:.0f}, which was undone"
    if low < -PLAIN_NEGATIVE * span or (
        low < -SOME_NEGATIVE * span and float(np.median(inside[inside < 0])) < NEAR_LOWEST * low
    ):
        return low, f"It holds negative values: {low:.4g} was taken for no signal"
    if low > PLAIN_OFFSET * span:
        return low, f"Its values lie far above 0: {low:.4g} was taken for no signal"
    return 0.0, ""
