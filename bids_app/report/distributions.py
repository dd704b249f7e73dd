"""Histograms for the page of the dataset."""

from __future__ import annotations

import io
from collections.abc import Sequence

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from .draw import CORD_COLOUR, Picture, own_settings

_MOST_BARS = 20


def draw_counts(values: Sequence[float], what: str, of: str, whole: bool = False) -> Picture:
    """Draw how often values occur.

    Parameters
    ----------
    values : sequence of float
        At least one.
    what, of : str
        What the values are, and what is counted.
    whole : bool
        Values are whole numbers: a bar for each, where there are not too many.
    """
    edges = _edges(np.asarray(values, float), whole)
    with own_settings():
        figure = Figure(figsize=(4.2, 2.6), dpi=100, layout="constrained")
        canvas = FigureCanvasAgg(figure)
        axes = figure.add_subplot()
        axes.hist(values, edges.tolist(), color=CORD_COLOUR, edgecolor="#1a1a1a", linewidth=0.6)
        axes.set(xlabel=what, ylabel=of)
        axes.yaxis.set_major_locator(MaxNLocator(integer=True))
        axes.spines[["top", "right"]].set_visible(False)
        stream = io.BytesIO()
        canvas.print_png(stream, metadata={"Software": None})
        width, height = canvas.get_width_height()
    low, middle, high = np.percentile(values, (0, 50, 100))
    alt = f"Histogram, {what}: {len(values)} {of}, from {low:.4g} to {high:.4g}, median {middle:.4g}."
    return Picture(stream.getvalue(), "image/png", width, height, alt)


def _edges(values: np.ndarray, whole: bool) -> np.ndarray:
    top = max(1.0, float(values.max()))
    if whole and top < _MOST_BARS:
        return np.arange(-0.5, top + 1)
    step = np.ceil((top + 1) / _MOST_BARS) if whole else top / _MOST_BARS
    return np.arange(_MOST_BARS + 1) * step
