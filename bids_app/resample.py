"""Between an image's own grid and the common-space crop, both ways.

A transform here is a 4 x 4 matrix that maps points of the reference (RAS+ mm) to points of the image (RAS+ mm).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from . import space
from .images import canonical
from .space import FloatArray, Grid

#: A native voxel is sampled at most this far apart when a map of the common space is averaged over it.
SAMPLE_MM = 0.75


def to_crop(
    volume: FloatArray,
    grid: Grid,
    starts: NDArray[np.int64],
    common: Grid,
    transform: FloatArray,
    order: int = 1,
    valid: NDArray[np.bool_] | None = None,
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Sample an image at the voxels of the crop.

    Parameters
    ----------
    volume : array, shape grid.shape
    grid : Grid
        The image's own grid.
    starts : array of int, shape (N, 2)
        The crop's first voxel in each slice of ``common``.
    common : Grid
        The uncropped common grid of the reference.
    transform : array, shape (4, 4)
        Reference mm to image mm.
    order : int
        Spline order: 1 for images, 0 for labels.
    valid : array of bool, shape grid.shape, optional
        Where the image has data; ``volume`` is 0 elsewhere. Nothing of what it holds elsewhere gets into the result.

    Returns
    -------
    sampled : array, shape (48, 48, N), float32
        0 where the image has no data.
    coverage : array, shape (48, 48, N), bool
        True where the crop voxel lies inside the image's field of view (voxel edges) and at least half of what it is
        interpolated from is valid.
    """
    turned, own = canonical(grid)
    matrix = common.index_matrix(own, transform)
    index = space.crop_index(starts).astype(float) @ matrix[:3, :3].T + matrix[:3, 3]
    coverage = inside(index, own.shape)
    where = None if valid is None else turned.apply(valid).astype(np.float32)
    sampled, coverage = sample_valid(turned.apply(volume), where, index, coverage, order)
    sampled[~coverage] = 0
    return sampled, coverage


def inside(index: FloatArray, shape: tuple[int, ...]) -> NDArray[np.bool_]:
    """Tell which continuous voxel indices, shape (..., 3), lie within the outer edges of an array."""
    return np.asarray(np.all((index >= -0.5 - 1e-3) & (index <= np.array(shape) - 0.5 + 1e-3), axis=-1))


def sample_valid(
    volume: FloatArray,
    valid: FloatArray | None,
    index: FloatArray,
    coverage: NDArray[np.bool_],
    order: int = 1,
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Interpolate between the voxels that hold data: sum(weight x value) / sum(weight) over these.

    Parameters
    ----------
    volume, valid : array, shape (I, J, K)
        ``volume`` is 0 where ``valid`` is; a share between 0 and 1 makes a voxel count for that much, and ``volume`` is then its
        value times that share. None: all are valid.
    index : array, shape (..., 3)
    coverage : array of bool, shape (...)
        Where ``index`` lies in the image.

    Returns
    -------
    values, coverage : arrays, shape (...)
        Covered where the weights of valid voxels make up at least half.
    """
    at = np.moveaxis(index, -1, 0)
    values = ndimage.map_coordinates(volume, at, order=order, mode="nearest", output=np.float32)
    if valid is None or bool(np.all(valid == 1)):
        return values, coverage
    weight = ndimage.map_coordinates(valid, at, order=order, mode="nearest", output=np.float32)
    weight[weight > 1 - 1e-5] = 1  # where nothing is missing, nothing changes
    # A thousandth below one half: exact halves, as at a straight border, are covered on either side.
    enough = coverage & (weight >= 0.499)
    return np.divide(values, weight, out=np.zeros_like(values), where=enough), enough


def from_crop(
    crop: FloatArray, starts: NDArray[np.int64], common: Grid, target: Grid, transform: FloatArray
) -> NDArray[np.float32]:
    """Average a map of the crop over the voxels of an image's grid.

    A voxel much larger than 0.5 mm gets the mean over its extent, not the value at its centre: that is what a thick slice
    would have shown. Voxels that the crop does not reach are 0.

    Parameters
    ----------
    crop : array, shape (48, 48, N)
    starts, common
        As in `to_crop`.
    target : Grid
        Where the map goes.
    transform : array, shape (4, 4)
        Reference mm to image mm.

    Returns
    -------
    array, shape target.shape, float32
    """
    order, target = canonical(target)
    box = space.uncrop(crop.astype(np.float32), starts, common, margin=1)
    result = np.zeros(target.shape, np.float32)
    block = _reach(box.grid, target, transform)
    if block is None:
        return order.undo(result)
    # A straight box around a leaning cord is mostly empty.
    index = block[0] + np.argwhere(_touched(crop != 0, starts, common, target, transform, block))
    back = target.index_matrix(box.grid, np.linalg.inv(transform))
    total = np.zeros(len(index), np.float32)
    offsets = sub_voxels(target.spacing_mm)
    for offset in offsets:
        at = (index + offset) @ back[:3, :3].T + back[:3, 3]
        total += ndimage.map_coordinates(box.array, at.T, order=1, mode="constant", output=np.float32)
    result[tuple(index.T)] = total / len(offsets)
    return order.undo(result)


def _touched(
    filled: NDArray[np.bool_],
    starts: NDArray[np.int64],
    common: Grid,
    target: Grid,
    transform: FloatArray,
    block: tuple[NDArray[np.int64], NDArray[np.int64]],
) -> NDArray[np.bool_]:
    """Return which voxels of a block of ``target`` any filled crop voxel can change."""
    low, high = block
    # A voxel is as large as the distance between their centres, and interpolation reaches one crop voxel further in each of
    # three axes.
    reach = 1 + np.floor(np.sqrt(3) * space.SPACING_MM / target.spacing_mm).astype(np.int64)
    points = common.to_mm(space.crop_index(starts)[filled].astype(float))
    at = np.round(target.to_index(points @ transform[:3, :3].T + transform[:3, 3])).astype(np.int64) - low
    at = at[np.all((at >= -reach) & (at < high - low + reach), axis=1)]
    touched = np.zeros(high - low + 2 * reach, bool)
    touched[tuple((at + reach).T)] = True
    touched = ndimage.maximum_filter(touched, tuple(2 * int(n) + 1 for n in reach))
    return np.asarray(touched[tuple(slice(n, -n) for n in reach)])


def labels_from_crop(
    labels: NDArray[np.integer], starts: NDArray[np.int64], common: Grid, target: Grid, transform: FloatArray
) -> NDArray[np.int32]:
    """Give every voxel near the crop the label whose voxels lie nearest to its centre.

    The result reaches beyond the labelled voxels: mask it with what should carry a label. 0 where the crop has no label at all
    or does not reach.
    """
    order, target = canonical(target)
    result = np.zeros(target.shape, np.int32)
    box = space.uncrop(labels.astype(np.int32), starts, common, margin=8)
    block = _reach(box.grid, target, transform)
    if block is None or not labels.any():
        return order.undo(result)
    nearest = ndimage.distance_transform_edt(box.array == 0, return_distances=False, return_indices=True)
    filled = box.array[tuple(nearest)]
    low, high = block
    index = np.stack(
        np.meshgrid(*[np.arange(a, b) for a, b in zip(low, high, strict=True)], indexing="ij"), axis=-1
    )
    back = target.index_matrix(box.grid, np.linalg.inv(transform))
    position = np.round(index.astype(float) @ back[:3, :3].T + back[:3, 3], 3)
    position = np.round(position).astype(int)
    reached = np.all((position >= 0) & (position < np.array(filled.shape)), axis=-1)
    values = np.zeros(index.shape[:3], np.int32)
    values[reached] = filled[tuple(position[reached].T)]
    result[tuple(slice(a, b) for a, b in zip(low, high, strict=True))] = values
    return order.undo(result)


def sub_voxels(spacing_mm: FloatArray) -> NDArray[np.float64]:
    """Return offsets inside a voxel, in voxel units, at most `SAMPLE_MM` apart, shape (M, 3)."""
    counts = np.maximum(1, np.ceil(spacing_mm / SAMPLE_MM - 1e-6)).astype(int)
    axes = [(np.arange(n) + 0.5) / n - 0.5 for n in counts]
    return np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 3)


def _reach(
    box: Grid, target: Grid, transform: FloatArray
) -> tuple[NDArray[np.int64], NDArray[np.int64]] | None:
    """Return the half-open index block of ``target`` that ``box`` can touch, or None."""
    corners = target.to_index(box.corners_mm() @ transform[:3, :3].T + transform[:3, 3])
    low = np.maximum(np.floor(corners.min(axis=0)).astype(np.int64) - 1, 0)
    high = np.minimum(np.ceil(corners.max(axis=0)).astype(np.int64) + 2, np.array(target.shape))
    return (low, high) if np.all(low < high) else None
