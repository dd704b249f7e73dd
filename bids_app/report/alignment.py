"""How the other images lie on the reference, before and after alignment: checkerboards of the straightened crop."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .. import resample, space
from ..records import Image, Segmented
from ..signal import read_signal
from ..space import FloatArray
from .arrays import Crop, View, grey_limits
from .draw import Picture, draw_plain

#: Side of a square of the checkerboard, and length of cord that is shown, mm.
SQUARE_MM = 6.0
SHOWN_MM = 96.0
_PIXELS_PER_MM = 3.0


@dataclass(frozen=True)
class Comparison:
    """One image beside the reference.

    Attributes
    ----------
    name : str
        Of the image's sequence, and of its station.
    words : str
        How it was aligned, and by how much it was moved.
    pictures : sequence of (str, Picture)
        With headings: before, and after where it was moved.
    """

    name: str
    words: str
    pictures: Sequence[tuple[str, Picture]]


def comparisons(segmented: Segmented, crop: Crop) -> list[Comparison]:
    """Return a comparison for each image beside the reference that feeds the network.

    Raises
    ------
    BadImageError
        An image cannot be read any more.
    """
    prepared = segmented.prepared
    inputs = [image for image in prepared.unit.inputs[1:] if image.path in prepared.alignments]
    # Stations of one sequence share a row.
    return [_compare(segmented, crop, prepared.sequences.index(image.sequence), image) for image in inputs]


def _compare(segmented: Segmented, crop: Crop, row: int, image: Image) -> Comparison:
    alignment = segmented.prepared.alignments[image.path]
    part = _shown(crop, row)
    after = _half(crop.images[row], crop.coverage[row], part)
    pictures = []
    if alignment.method == "rigid":
        before = _by_header(image, crop, part)
        pictures.append(
            ("before", _draw(crop, part, before, f"{image.sequence} by the scanner's coordinates alone"))
        )
    words = "after" if pictures else "as it was used"
    pictures.append((words, _draw(crop, part, after, f"{image.sequence} {words}")))
    return Comparison(image.label, _words(alignment.method, alignment.transform, crop), pictures)


def _words(method: str, transform: FloatArray, crop: Crop) -> str:
    """Say how far an alignment moved the middle of the cord, and by which angle."""
    if method != "rigid":
        return "not moved: the scanner's coordinates alone fit as well"
    mask = np.argwhere(crop.cord) if crop.cord.any() else np.argwhere(np.ones(crop.cord.shape, bool))
    level = round(float(mask[:, 2].mean()))
    middle = np.append(crop.starts[level] + mask[:, :2].mean(axis=0), level)
    point = crop.grid.to_mm(middle)
    moved = transform[:3, :3] @ point + transform[:3, 3] - point
    angle = np.degrees(np.arccos(np.clip((np.trace(transform[:3, :3]) - 1) / 2, -1, 1)))
    return (
        f"moved by {np.linalg.norm(moved):.1f} mm at the middle of the cord and turned by {angle:.1f} degrees"
    )


def _shown(crop: Crop, row: int) -> slice:
    """Return the stretch along the cord that is drawn: around the middle of what both images and the cord share."""
    shared = (crop.coverage[0] & crop.coverage[row] & crop.cord).any(axis=(0, 1))
    levels = np.flatnonzero(shared) if shared.any() else np.arange(crop.length)
    half = round(SHOWN_MM / space.SPACING_MM / 2)
    middle = (int(levels[0]) + int(levels[-1])) // 2
    return slice(max(0, middle - half), min(crop.length, middle + half))


def _half(volume: FloatArray, coverage: NDArray[np.bool_], part: slice) -> FloatArray:
    """Return the middle sagittal slice of a stretch, shape (48, M); NaN where there is no data."""
    middle = space.CROP_VOXELS // 2
    return np.where(coverage[middle, :, part], volume[middle, :, part], np.nan)


def _by_header(image: Image, crop: Crop, part: slice) -> FloatArray:
    """Return the same slice of an image as it lay before alignment."""
    found, grid = read_signal(image.path, image.sequence)
    # Only the slices that are drawn: a few milliseconds.
    starts = crop.starts[part]
    shifted = crop.grid.affine.copy()
    shifted[:3, 3] = crop.grid.to_mm(np.array([0.0, 0.0, part.start]))
    stretch = space.Grid((crop.grid.shape[0], crop.grid.shape[1], len(starts)), shifted)
    sampled, coverage = resample.to_crop(found.values, grid, starts, stretch, np.eye(4), valid=found.valid)
    return _half(sampled, coverage, slice(None))


def _draw(crop: Crop, part: slice, other: FloatArray, what: str) -> Picture:
    reference = _half(crop.images[0], crop.coverage[0], part)
    scaled = [_scaled(values) for values in (reference, other)]
    size = round(SQUARE_MM / space.SPACING_MM)
    rows, columns = np.indices(reference.shape)
    mixed = np.where((rows // size + columns // size) % 2 == 0, *scaled)
    middle = space.CROP_VOXELS // 2
    view = View(
        image=mixed[::-1].T,
        lesions=np.zeros(mixed.T.shape, np.int32),
        cord=crop.cord[middle, ::-1, part].T,
        pixel_mm=(space.SPACING_MM, space.SPACING_MM),
        letters=("A", "P", "I", "S"),
    )
    alt = f"Checkerboard, sagittal: squares of the reference and of {what}, with the outline of the cord of the reference."
    return draw_plain(view, (0, 1), _PIXELS_PER_MM, alt)


def _scaled(values: FloatArray) -> FloatArray:
    low, high = grey_limits(values[np.isfinite(values)])
    return np.asarray(np.clip((values - low) / (high - low), 0, 1))
