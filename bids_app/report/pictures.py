"""The pictures of one unit: the cord along its length, the levels with lesions, the reference itself."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from ..records import Segmented
from ..space import SPACING_MM
from ..vertebrae import name_of
from .alignment import Comparison, comparisons
from .arrays import PLANE_NAMES, Crop, Native, View, grey_limits, read_native
from .choose import Choice, choose_slices
from .draw import Picture, Ruler, draw_pair, draw_plain, own_settings

#: Pictures of each kind for a participant with one unit; several units share twice as many.
MOST_PICTURES = 24
LEAST_PICTURES = 2
#: A long lesion is drawn again at every step along the cord.
LEVEL_STEP_MM = 5.0
#: The straightened cord is cut into pieces of at most this length, which stand side by side.
STRIP_MM = 130.0
TICK_MM = 10
#: Tissue shown around the cord on the reference.
CONTEXT_MM = 25.0
#: Cord shown above and below a lesion on its sagittal picture.
SAGITTAL_MARGIN_MM = 12.0
_SAGITTAL_PIXELS_PER_MM = 5.5
_THUMBNAIL_PIXELS_PER_MM = 4.0
_CROP_PIXELS_PER_MM = 8.0
_STRIP_PIXELS_PER_MM = 5.5
#: The reference is drawn at least at 4 and at most at 6 pixels per mm, and no longer than this.
_NATIVE_PIXELS = 800


@dataclass(frozen=True)
class Figure:
    """Pictures with one caption.

    Attributes
    ----------
    pictures : sequence of (str, Picture)
        Each with a heading, which may be empty.
    lesions : tuple of int
        Numbers of the lesions to be seen.
    """

    caption: str
    pictures: Sequence[tuple[str, Picture]]
    lesions: tuple[int, ...] = ()


@dataclass(frozen=True)
class Scan:
    """The slices of one image that have lesions, as it was scanned, and a sentence about those that were left out."""

    name: str
    slices: Sequence[Figure]
    note: str


@dataclass(frozen=True)
class Pictures:
    """All pictures of a unit, and sentences about those that were left out."""

    overview: Figure
    sagittal: Sequence[Figure]
    sagittal_note: str
    levels: Sequence[Figure]
    levels_note: str
    scans: Sequence[Scan]
    alignment: Sequence[Comparison]
    thumbnail: Picture


def pictures_per_unit(units: int) -> int:
    """Return how many pictures of each kind a unit gets, so that a page of many units stays small."""
    return max(LEAST_PICTURES, min(MOST_PICTURES, 2 * MOST_PICTURES // max(units, 1)))


def draw_unit(segmented: Segmented, crop: Crop, limit: int) -> Pictures:
    """Draw a unit.

    Parameters
    ----------
    segmented : Segmented
    crop : Crop
        What `arrays.read_crop` returns of it.
    limit : int
        At most this many levels, and this many slices of each image.

    Raises
    ------
    BadImageError, OSError, KeyError, ValueError, zipfile.BadZipFile
        A file of the unit cannot be read any more.
    """
    sequences = segmented.prepared.sequences
    levels = choose_slices(crop.instances, 2, limit, step=round(LEVEL_STEP_MM / SPACING_MM))
    numbers = [lesion.index for lesion in segmented.lesions if (crop.instances == lesion.index).any()]
    shown = [(name, row, crop.limits(row)) for row, name in enumerate(sequences)]
    with own_settings():
        return Pictures(
            overview=_overview(crop, sequences[0]),
            sagittal=[_sagittal(crop, shown, number) for number in numbers[:limit]],
            sagittal_note=_left_out(numbers[limit:], limit),
            levels=[_level(crop, shown, level) for level in reversed(levels.slices)],
            levels_note=_note(levels, "level", limit),
            scans=[scan for scan in _scans(segmented, crop, limit) if scan.slices],
            alignment=comparisons(segmented, crop),
            thumbnail=_thumbnail(crop, sequences[0]),
        )


def height_words(height_mm: float) -> str:
    """Return a position along the cord as ``S 12.0`` or ``I 12.0`` (mm)."""
    return f"{'S' if height_mm >= 0 else 'I'} {abs(height_mm):.1f}"


def lesion_words(numbers: Sequence[int]) -> str:
    """Return ``lesion 1``, ``lesions 1 and 2`` or ``lesions 1, 2 and 3``; ``no lesion`` without numbers."""
    if not numbers:
        return "no lesion"
    return f"lesion{'s' if len(numbers) > 1 else ''} {and_words([str(number) for number in numbers])}"


def and_words(words: Sequence[str]) -> str:
    """Return ``a``, ``a and b`` or ``a, b and c``."""
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


def _overview(crop: Crop, sequence: str) -> Figure:
    pieces = max(1, int(np.ceil(crop.length * SPACING_MM / STRIP_MM)))
    edges = np.linspace(0, crop.length, pieces + 1).round().astype(int)[::-1]
    heights = np.array([crop.height_mm(level) for level in range(crop.length)])
    limits, drawn = crop.limits(0), []
    for high, low in itertools.pairwise(edges):
        view = crop.strip(int(low), int(high))
        extents = crop.extents(int(low), int(high))
        alt = (
            f"The straightened cord on {sequence} from the side, {height_words(heights[high - 1])} to "
            f"{height_words(heights[low])} mm, plain and with the outline of the cord and of "
            f"{lesion_words([number for number, _, _ in extents])}."
        )
        ruler = Ruler(_level_ticks(crop, int(low), int(high)) or _ticks(heights[low:high]), extents)
        drawn.append(("", draw_pair(view, limits, _STRIP_PIXELS_PER_MM, alt, ruler)))
    order = " Read downwards, then go on with the next piece." if pieces > 1 else ""
    scale = (
        "Vertebral levels stand on the left."
        if _level_ticks(crop, 0, crop.length)
        else "The scale on the left is the S-I coordinate in mm."
    )
    caption = (
        f"{sequence}: the cord along its length, straightened; superior is up, anterior is left.{order} "
        "Outlines are the cord and the lesions seen through from the side, so that lesions beside the middle "
        f"show as well; a bar on the right gives the extent of each lesion, with its number. {scale}"
    )
    return Figure(caption, drawn, _seen(crop.instances))


def _level_ticks(crop: Crop, low: int, high: int) -> list[tuple[float, str]]:
    """Return the name of each vertebral level at its middle; none where levels are unknown."""
    if crop.levels is None:
        return []
    here = crop.levels[low:high]
    return [
        (float(np.flatnonzero(here == value).mean()), name_of(int(value)))
        for value in np.unique(here)
        if name_of(int(value))
    ]


def _ticks(heights: np.ndarray) -> list[tuple[float, str]]:
    """Return a tick wherever the S coordinate passes a multiple of `TICK_MM`."""
    rising = np.maximum.accumulate(heights)
    values = np.arange(np.ceil(rising[0] / TICK_MM), np.floor(rising[-1] / TICK_MM) + 1) * TICK_MM
    rows = np.interp(values, rising, np.arange(len(rising)))
    return [
        (float(row), f"{'S' if value >= 0 else 'I'} {abs(value):.0f}")
        for row, value in zip(rows, values, strict=True)
    ]


def _sagittal(crop: Crop, shown: Sequence[tuple[str, int, tuple[float, float]]], number: int) -> Figure:
    """Draw the sagittal slice through a lesion where it is largest, on every sequence that reaches it."""
    inside = crop.instances == number
    column = int(inside.sum(axis=(1, 2)).argmax())
    levels = np.flatnonzero(inside.any(axis=(0, 1)))
    margin = round(SAGITTAL_MARGIN_MM / SPACING_MM)
    low, high = max(0, int(levels[0]) - margin), min(crop.length, int(levels[-1]) + 1 + margin)
    high = min(high, low + round(STRIP_MM / SPACING_MM))
    drawn = []
    for sequence, row, limits in shown:
        view = crop.sagittal(row, column, low, high)
        if not np.isfinite(view.image[view.lesions == number]).any():
            continue
        alt = f"Sagittal slice of {sequence} through lesion {number}, plain and with outlines of the cord and of the lesions."
        drawn.append((sequence, draw_pair(view, limits, _SAGITTAL_PIXELS_PER_MM, alt)))
    return Figure(
        f"Lesion {number}, {height_words(crop.height_mm(int(levels.mean())))} mm.", drawn, (number,)
    )


def _thumbnail(crop: Crop, sequence: str) -> Picture:
    """Draw the axial slice where the largest lesion is largest, or the middle of the cord: for lists of participants."""
    sizes = np.bincount(crop.instances.ravel())
    sizes[0] = 0
    mask = crop.instances == sizes.argmax() if sizes.any() else crop.cord
    areas = mask.sum(axis=(0, 1))
    levels = np.flatnonzero(areas)
    middle = int(levels[len(levels) // 2]) if len(levels) else crop.length // 2
    level = int(areas.argmax()) if sizes.any() else middle
    words = lesion_words(_seen(crop.instances[..., level]))
    return draw_plain(
        crop.axial(0, level), crop.limits(0), _THUMBNAIL_PIXELS_PER_MM, f"{sequence}, axial: {words}"
    )


def _left_out(numbers: Sequence[int], limit: int) -> str:
    if not numbers:
        return ""
    return f"{limit} lesions are drawn; left out to save room: {lesion_words(numbers)}."


def _level(crop: Crop, shown: Sequence[tuple[str, int, tuple[float, float]]], level: int) -> Figure:
    """Draw one level; ``shown`` gives name, row and grey limits of each sequence."""
    seen = _seen(crop.instances[..., level])
    height, lesions = height_words(crop.height_mm(level)), lesion_words(seen)
    drawn, absent = [], []
    for sequence, row, limits in shown:
        if not crop.covers(row, level):
            absent.append(sequence)
            continue
        alt = (
            f"Axial slice of {sequence} at {height} mm, plain and with outlines of the cord and of {lesions}."
        )
        picture = draw_pair(crop.axial(row, level), limits, _CROP_PIXELS_PER_MM, alt)
        drawn.append((sequence, picture))
    caption = f"{height} mm: {lesions}."
    if absent:
        caption += f" Not scanned here: {', '.join(absent)}."
    return Figure(caption, drawn, seen)


def _scans(segmented: Segmented, crop: Crop, limit: int) -> Iterator[Scan]:
    """Yield the slices with lesions of every image that fed the network, the reference first."""
    if not crop.instances.any():
        return
    for image in segmented.prepared.unit.inputs:
        if image.path in segmented.prepared.alignments:
            native = read_native(segmented, crop, image)
            slices = choose_slices(native.instances, native.axis, limit)
            yield Scan(image.label, _native(native, slices, image.sequence), _note(slices, "slice", limit))


def _native(native: Native, choice: Choice, sequence: str) -> list[Figure]:
    if not choice.slices:
        return []
    window = native.window(CONTEXT_MM)
    limits = grey_limits(native.image[window])
    views = [native.view(position, window) for position in choice.slices]
    scale = _native_scale(views[0])
    plane, count = PLANE_NAMES[native.axis], len(native.numbers)
    figures = []
    for position, view in zip(choice.slices, views, strict=True):
        seen = _seen(view.lesions)
        lesions, name = (
            lesion_words(seen),
            f"{plane.capitalize()} slice {native.numbers[position]} of {count}",
        )
        alt = f"{name} of {sequence}, plain and with outlines of the cord and of {lesions}."
        figures.append(Figure(f"{name}: {lesions}.", [("", draw_pair(view, limits, scale, alt))], seen))
    # Axial slices are listed from the top down, like the levels; sagittal ones from right to left.
    return figures[::-1] if native.axis == PLANE_NAMES.index("axial") else figures


def _native_scale(view: View) -> float:
    longest_mm = max(n * size for n, size in zip(view.image.shape, view.pixel_mm, strict=True))
    finest = min(6.0, max(4.0, 2 / min(view.pixel_mm)))
    return float(min(finest, _NATIVE_PIXELS / longest_mm))


def _note(choice: Choice, what: str, limit: int) -> str:
    if not choice.left_out:
        return ""
    note = f"{limit} {what}s are drawn; {choice.left_out} more with lesions were left out to save room."
    if choice.undrawn:
        note += f" Not drawn here: {lesion_words(choice.undrawn)}; the table and the mask have every lesion."
    return note


def _seen(instances: np.ndarray) -> tuple[int, ...]:
    return tuple(int(number) for number in np.unique(instances[instances > 0]))
