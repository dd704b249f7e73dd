"""Maps of the common space on the grid of an image. Arrays in, arrays out."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from ..images import canonical
from ..records import Lesion
from ..resample import from_crop, labels_from_crop
from ..space import CONNECTED, FloatArray, Grid

log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Layer:
    """What one unit has to say of one image.

    Attributes
    ----------
    probability : array, shape (48, 48, N), float32
    instances : array, shape (48, 48, N), int32
        Lesion numbers, 0 elsewhere.
    starts : array of int, shape (N, 2)
        The crop's first voxel in each slice of ``common``.
    common : Grid
        The uncropped common grid.
    transform : array, shape (4, 4)
        Reference mm to image mm.
    threshold : float
    lesions : tuple of Lesion
        Their numbers are those of ``instances``.
    """

    probability: NDArray[np.float32]
    instances: NDArray[np.int32]
    starts: NDArray[np.int64]
    common: Grid
    transform: FloatArray
    threshold: float
    lesions: tuple[Lesion, ...]


@dataclass(frozen=True, eq=False)
class NativeMaps:
    """Maps on the grid of an image.

    Attributes
    ----------
    probability : array of float32
        Highest probability that any unit gives.
    instances : array of int32
        Lesion numbers; the lesion mask is where they are not 0.
    """

    probability: NDArray[np.float32]
    instances: NDArray[np.int32]


def native_maps(layers: Sequence[Layer], target: Grid) -> NativeMaps:
    """Bring the maps of every unit that an image takes part in to its grid.

    Where two units mark a voxel, the more probable lesion has it. A lesion whose centre of mass lies within
    the image keeps at least its most probable voxel there, however thick the slices are.
    """
    order, target = canonical(target)
    probability = np.zeros(target.shape, np.float32)
    best = np.zeros(target.shape, np.float32)
    instances = np.zeros(target.shape, np.int32)
    for layer in layers:
        where = (layer.starts, layer.common, target, layer.transform)
        np.maximum(probability, from_crop(layer.probability, *where), out=probability)
        if not layer.instances.any():
            continue
        kept = from_crop(_near_lesions(layer), *where)
        labels = labels_from_crop(layer.instances, *where)
        wins = (kept >= layer.threshold) & (kept > best) & (labels > 0)
        instances[wins], best[wins] = labels[wins], kept[wins]
    _restore_lost(instances, layers, target)
    return NativeMaps(order.undo(np.clip(probability, 0, 1)), order.undo(instances))


def covers(target: Grid, lesion: Lesion, transform: FloatArray) -> bool:
    """Tell whether an image's field of view (voxel edges) holds the centre of mass of a lesion."""
    index = target.to_index(_to_image(lesion, transform))
    return bool(np.all((index >= -0.5) & (index <= np.array(target.shape) - 0.5)))


def _near_lesions(layer: Layer) -> NDArray[np.float32]:
    """Return the probability in the kept lesions and one voxel around them.

    Without that rim the interpolation at a lesion's edge would be pulled down by zeros. A voxel of the rim
    that is above the threshold belongs to a lesion that was not kept.
    """
    inside = layer.instances > 0
    rim = ndimage.binary_dilation(inside, CONNECTED) & (layer.probability < layer.threshold)
    return np.where(inside | rim, layer.probability, np.float32(0))


def _restore_lost(instances: NDArray[np.int32], layers: Sequence[Layer], target: Grid) -> None:
    """Give every covered lesion without a voxel its most probable one, never another's only voxel."""
    top = max([lesion.index for layer in layers for lesion in layer.lesions], default=0)
    counts = np.bincount(instances.ravel(), minlength=top + 1)
    for layer in layers:
        for lesion in layer.lesions:
            if counts[lesion.index] or not covers(target, lesion, layer.transform):
                continue
            for voxel in _voxels_by_probability(lesion, layer, target):
                owner = instances[voxel]
                if owner == 0 or counts[owner] > 1:
                    counts[owner] -= 1
                    counts[lesion.index] += 1
                    instances[voxel] = lesion.index
                    break
            else:
                log.warning("Lesion %d has no voxel of its own in one image.", lesion.index)


def _voxels_by_probability(lesion: Lesion, layer: Layer, target: Grid) -> list[tuple[int, int, int]]:
    """Return the voxels that a lesion touches, the most probable first, and the one at its centre."""
    inside = layer.instances == lesion.index
    slices = np.flatnonzero(inside.any(axis=(0, 1)))
    if not len(slices):
        raise ValueError(f"lesion {lesion.index} is not in the map of instances")
    low, high = slices[0], slices[-1] + 1
    affine = layer.common.affine.copy()
    affine[:3, 3] = layer.common.to_mm(np.array([0.0, 0.0, float(low)]))
    part = Grid((*layer.common.shape[:2], int(high - low)), affine)
    own = np.where(inside, layer.probability, np.float32(0))[..., low:high]
    native = from_crop(own, layer.starts[low:high], part, target, layer.transform)
    voxels = np.argwhere(native > 0)
    order = np.argsort(-native[tuple(voxels.T)], kind="stable")
    centre = np.round(target.to_index(_to_image(lesion, layer.transform))).astype(int)
    centre = np.clip(centre, 0, np.array(target.shape) - 1)
    return [(int(i), int(j), int(k)) for i, j, k in [*voxels[order], centre]]


def _to_image(lesion: Lesion, transform: FloatArray) -> FloatArray:
    return np.asarray(transform[:3, :3] @ np.asarray(lesion.position_mm) + transform[:3, 3])
