"""The crop of a unit, and the windows that it is cut into for the network."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from . import space
from .model.predict import Sample
from .records import Prepared
from .sequences import SLOTS
from .space import FloatArray, Grid
from .tiling import tiled, windows

Place = tuple[slice, ...]
WINDOW = (space.CROP_VOXELS, space.CROP_VOXELS, 64)


@dataclass(frozen=True, eq=False)
class Crop:
    """A unit in the common space: what preprocessing left in ``Prepared.crop``; shapes as in `records.Prepared`.

    Attributes
    ----------
    grid : Grid
        The uncropped common grid.
    sequences : tuple of str
        Sequence of each image.
    levels : array, shape (N,), optional
        Vertebral level of each slice, 0 where unknown.
    """

    images: NDArray[np.float32]
    coverage: NDArray[np.bool_]
    cord: NDArray[np.float32]
    starts: NDArray[np.int64]
    grid: Grid
    sequences: tuple[str, ...]
    levels: NDArray[np.uint8] | None = None


def read_crop(prepared: Prepared) -> Crop:
    """Read a unit's crop."""
    with np.load(prepared.crop) as arrays:
        return Crop(
            arrays["images"],
            arrays["coverage"],
            arrays["cord"],
            arrays["starts"],
            prepared.grid,
            prepared.sequences,
            arrays.get("levels"),
        )


def simulated_crop(
    images: NDArray[np.generic],
    coverage: NDArray[np.bool_],
    cord: NDArray[np.generic],
    sequences: Sequence[str],
) -> Crop:
    """Return a crop that was cut from no scan: simulated in the common space, around a straight cord.

    Parameters
    ----------
    images, coverage : array, shape (S, X, Y, Z)
    cord : array, shape (X, Y, Z)
    sequences : sequence of str
        S names.
    """
    grid = Grid(cord.shape, np.diag([-space.SPACING_MM, space.SPACING_MM, space.SPACING_MM, 1.0]))
    starts = np.zeros((cord.shape[2], 2), np.int64)
    return Crop(images.astype(np.float32), coverage, cord.astype(np.float32), starts, grid, tuple(sequences))


@dataclass(frozen=True, eq=False)
class Cut:
    """A crop cut into windows.

    Attributes
    ----------
    places : list of tuple of slice
    samples : list of Sample or None
        What the network sees of each; None where it shows no cord.
    cord : array, shape (48, 48, M)
        Padded along the cord.
    inner : slice
        Where the crop lies in ``cord``.
    """

    places: list[Place]
    samples: list[Sample | None]
    cord: FloatArray
    inner: slice

    def pad(self, mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Return a mask of the crop as the windows see it."""
        result = np.zeros(self.cord.shape, bool)
        result[..., self.inner] = mask
        return result

    def blend(self, results: Sequence[FloatArray | None]) -> NDArray[np.float32]:
        """Return a map of the crop from what was found around the cord of each window; None counts as 0."""
        waiting = iter(results)

        def whole(place: Place) -> FloatArray | None:
            found = next(waiting)
            if found is None:
                return None
            result = np.zeros(WINDOW, np.float32)
            result[space.around_cord(self.cord[place])] = found
            return result

        return np.asarray(tiled(self.cord.shape, WINDOW, whole)[..., self.inner], np.float32)


def cut_windows(crop: Crop, intensity: str) -> Cut:
    """Cut a crop into windows.

    Parameters
    ----------
    crop : Crop
    intensity : str
        What the network takes the signal relative to, see `space.intensities`.
    """
    images, coverage, cord, inner = _padded(crop)
    slots = [SLOTS.index(name) for name in crop.sequences]
    places = list(windows(cord.shape, WINDOW))
    samples = [
        _sample(intensity, slots, images[:, *place], coverage[:, *place], cord[place]) for place in places
    ]
    return Cut(places, samples, cord, inner)


def _sample(
    kind: str, slots: list[int], images: FloatArray, coverage: FloatArray, cord: FloatArray
) -> Sample | None:
    """Return what the network sees of a window: the sequences that show some of the cord; None where none does."""
    relative = {}
    for n in range(len(slots)):
        image = space.intensities(kind, images[n], coverage[n] > 0, cord)
        if image is not None:
            relative[n] = image
    if not relative:
        return None
    part = space.around_cord(cord)
    return Sample(
        np.stack([image[part] for image in relative.values()]),
        np.stack([coverage[n][part] for n in relative]),
        tuple(slots[n] for n in relative),
    )


def _padded(crop: Crop) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32], slice]:
    """Pad the crop along the cord to at least a window; the slice says where the crop lies in the result."""
    n = crop.cord.shape[2]
    extra = max(0, WINDOW[2] - n)
    before = extra // 2
    widths = ((0, 0), (0, 0), (before, extra - before))
    four = ((0, 0), *widths)
    return (
        np.pad(crop.images.astype(np.float32), four),
        np.pad(crop.coverage.astype(np.float32), four),
        np.pad(crop.cord, widths),
        slice(before, before + n),
    )
