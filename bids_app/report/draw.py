"""Pictures, in memory: a slice twice, plain on the left and with its outlines on the right."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke
from numpy.typing import NDArray
from PIL import Image

from .arrays import View

#: Okabe-Ito colours: told apart with every common kind of colour blindness, and on grey.
LESION_COLOUR = "#E69F00"
CORD_COLOUR = "#56B4E9"
#: Where a sequence has no data: no grey of a scan looks like it.
NO_DATA_COLOUR = "#4B5A6B"
_DPI = 100
_GAP = 6
_LINE_POINTS = 0.9
#: Bars of lesions beside the strip stand in this many columns, so that neighbours do not merge.
_LANES = 4
#: Height and width that a lesion number takes, in pixels.
_NUMBER_PIXELS = (11, 15)
#: JPEG is a quarter of PNG here; full colour resolution keeps the outlines sharp.
_JPEG_QUALITY = 88


@dataclass(frozen=True)
class Picture:
    """An encoded picture.

    Attributes
    ----------
    data : bytes
    media_type : str
    width, height : int
        In pixels.
    alt : str
        What it shows, for those who cannot see it.
    """

    data: bytes
    media_type: str
    width: int
    height: int
    alt: str

    @property
    def uri(self) -> str:
        """The picture as a ``data:`` URI."""
        return f"data:{self.media_type};base64,{base64.b64encode(self.data).decode('ascii')}"


@dataclass(frozen=True)
class Ruler:
    """Marks beside a picture.

    Attributes
    ----------
    ticks : sequence of (float, str)
        Row of the view and label, on the left.
    extents : sequence of (int, int, int)
        Number, first row and last row of each lesion, on the right, in rising order of their middles.
    left, right : int
        Width of the margins in pixels.
    """

    ticks: Sequence[tuple[float, str]]
    extents: Sequence[tuple[int, int, int]]
    left: int = 46
    right: int = 52


@contextmanager
def own_settings() -> Iterator[None]:
    """Draw with matplotlib's own defaults: the user's settings must not change the page."""
    with matplotlib.rc_context(matplotlib.rcParamsDefault):
        yield


def draw_pair(
    view: View, limits: tuple[float, float], pixels_per_mm: float, alt: str, ruler: Ruler | None = None
) -> Picture:
    """Draw a slice plain and outlined, side by side, at its true aspect.

    Parameters
    ----------
    view : View
    limits : tuple of float
        Values drawn black and white.
    pixels_per_mm : float
    alt : str
        Alternative text.
    ruler : Ruler, optional
        Ticks on the left and the extent of each lesion on the right.
    """
    height = max(1, round(view.image.shape[0] * view.pixel_mm[0] * pixels_per_mm))
    width = max(1, round(view.image.shape[1] * view.pixel_mm[1] * pixels_per_mm))
    left, right = (ruler.left, ruler.right) if ruler else (0, 0)
    total = left + width + _GAP + width + right
    # A hair more than the size, so that it does not round down to a pixel less.
    figure = Figure(figsize=((total + 0.01) / _DPI, (height + 0.01) / _DPI), dpi=_DPI, facecolor="white")
    boxes = [(start / total, 0, width / total, 1) for start in (left, left + width + _GAP)]
    plain, outlined = (_panel(figure, box, view, limits) for box in boxes)
    _outline(outlined, view.cord, CORD_COLOUR)
    _outline(outlined, view.lesions > 0, LESION_COLOUR)
    if ruler:
        _ticks(plain, ruler)
        _extents(outlined, ruler, view.image.shape[0] / height, width)
    else:
        _numbers(outlined, view, (height / view.image.shape[0], width / view.image.shape[1]))
    pixels = _render(figure)
    return _encode(pixels, alt)


def draw_plain(view: View, limits: tuple[float, float], pixels_per_mm: float, alt: str) -> Picture:
    """Draw a slice once, with its outlines, at its true aspect; parameters as in `draw_pair`."""
    height = max(1, round(view.image.shape[0] * view.pixel_mm[0] * pixels_per_mm))
    width = max(1, round(view.image.shape[1] * view.pixel_mm[1] * pixels_per_mm))
    size = ((width + 0.01) / _DPI, (height + 0.01) / _DPI)
    figure = Figure(figsize=size, dpi=_DPI, facecolor="white")
    axes = _panel(figure, (0, 0, 1, 1), view, limits)
    _outline(axes, view.cord, CORD_COLOUR)
    _outline(axes, view.lesions > 0, LESION_COLOUR)
    _numbers(axes, view, (height / view.image.shape[0], width / view.image.shape[1]))
    return _encode(_render(figure), alt)


def _panel(
    figure: Figure, box: tuple[float, float, float, float], view: View, limits: tuple[float, float]
) -> Axes:
    axes = figure.add_axes(box)
    axes.axis("off")
    rows, columns = view.image.shape
    grey = matplotlib.colormaps["gray"].with_extremes(bad=NO_DATA_COLOUR)
    axes.imshow(
        np.ma.masked_invalid(view.image),
        cmap=grey,
        vmin=limits[0],
        vmax=limits[1],
        origin="lower",
        aspect="auto",
        interpolation="bilinear",
        interpolation_stage="data",
    )
    axes.set_xlim(-0.5, columns - 0.5)
    axes.set_ylim(-0.5, rows - 0.5)
    places = ((0.0, 0.5, 3, 0), (1.0, 0.5, -3, 0), (0.5, 0.0, 0, 3), (0.5, 1.0, 0, -3))
    sides = (("left", "center"), ("right", "center"), ("center", "bottom"), ("center", "top"))
    for letter, (x, y, dx, dy), (horizontal, vertical) in zip(view.letters, places, sides, strict=True):
        axes.annotate(
            letter,
            (x, y),
            (dx, dy),
            xycoords="axes fraction",
            textcoords="offset points",
            ha=horizontal,
            va=vertical,
            fontsize=8,
            color="white",
            path_effects=[withStroke(linewidth=2, foreground="black")],
        )
    return axes


def _outline(axes: Axes, mask: NDArray[np.bool_], colour: str) -> None:
    """Draw the line half-way between voxels in and out of a mask; it closes at the picture's edge."""
    if not mask.any():
        return
    # The rim of zeros that closes it is a little nearer than a voxel, so that the line stays in the picture.
    rows, columns = (np.concatenate([[-0.6], np.arange(n), [n - 0.4]]) for n in mask.shape)
    axes.contour(
        columns,
        rows,
        np.pad(mask.astype(float), 1),
        levels=[0.5],
        colors=[colour],
        linewidths=_LINE_POINTS,
    )


def _numbers(axes: Axes, view: View, pixels: tuple[float, float]) -> None:
    """Write each lesion's number beside it where there is room; the caption names them all.

    ``pixels`` is the vertical and horizontal size of a voxel of the view in the picture.
    """
    size = np.array(_NUMBER_PIXELS) / pixels
    inside = np.array(view.lesions.shape) - 0.5 - size / 2
    taken: list[NDArray[np.floating]] = []
    for number in np.unique(view.lesions[view.lesions > 0]):
        where = np.argwhere(view.lesions == number)
        (bottom, left), (top, right) = where.min(axis=0) - 0.5, where.max(axis=0) + 0.5
        beside = [(top, right + size[1] / 2), (top, left - size[1] / 2)]
        beside += [(bottom, right + size[1] / 2), (bottom, left - size[1] / 2)]
        for place in np.array(beside):
            free = all((np.abs(place - other) >= size).any() for other in taken)
            if free and (place >= size / 2 - 0.5).all() and (place <= inside).all():
                taken.append(place)
                _label(axes, str(number), (float(place[1]), float(place[0])))
                break


def _label(axes: Axes, text: str, place: tuple[float, float]) -> None:
    halo = [withStroke(linewidth=1.5, foreground="black")]
    axes.text(*place, text, ha="center", va="center", fontsize=8, color=LESION_COLOUR, path_effects=halo)


def _ticks(axes: Axes, ruler: Ruler) -> None:
    for row, label in ruler.ticks:
        axes.annotate(
            label,
            (0, row),
            (-5, 0),
            xycoords=("axes fraction", "data"),
            textcoords="offset points",
            ha="right",
            va="center",
            fontsize=8,
            color="black",
            annotation_clip=False,
            arrowprops={"arrowstyle": "-", "color": "black", "linewidth": 0.8, "shrinkA": 0, "shrinkB": 0},
        )


def _extents(axes: Axes, ruler: Ruler, rows_per_pixel: float, width: int) -> None:
    """Draw each lesion's extent as a bar right of the picture, with its number."""
    beside = axes.get_yaxis_transform()
    margin = ruler.right / width
    middles = [(low + high) / 2 for _, low, high in ruler.extents]
    places = _spread(middles, 11 * rows_per_pixel, axes.get_ylim()[1])
    for order, ((number, low, high), place) in enumerate(zip(ruler.extents, places, strict=True)):
        lane = 1 + margin * (0.1 + 0.1 * (order % _LANES))
        axes.plot(
            [lane, lane],
            [low - 0.5, high + 0.5],
            transform=beside,
            color=LESION_COLOUR,
            linewidth=2,
            solid_capstyle="butt",
            clip_on=False,
        )
        axes.text(
            1 + margin * 0.55, place, str(number), transform=beside, va="center", fontsize=8, clip_on=False
        )


def _spread(wanted: Sequence[float], gap: float, top: float) -> list[float]:
    """Move rising places apart by at least ``gap``, upwards first and then down from ``top``."""
    places: list[float] = []
    for place in wanted:
        places.append(max(place, places[-1] + gap if places else gap / 2))
    ceiling = top - gap / 2
    for order in reversed(range(len(places))):
        places[order] = min(places[order], ceiling)
        ceiling = places[order] - gap
    return places


def _render(figure: Figure) -> NDArray[np.uint8]:
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()


def _encode(pixels: NDArray[np.uint8], alt: str) -> Picture:
    """Encode without metadata, so that equal pixels give equal bytes."""
    image = Image.fromarray(pixels)
    stream = io.BytesIO()
    image.save(stream, "JPEG", quality=_JPEG_QUALITY, subsampling=0, optimize=True)
    return Picture(stream.getvalue(), "image/jpeg", image.width, image.height, alt)
