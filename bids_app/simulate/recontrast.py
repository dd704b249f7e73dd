"""Real scans in other contrasts: texture and anatomy of people for sequences that no real scan at hand shows.

The tissues of an image are told apart by clustering its intensities; each gets another level, and a slope of either sign about
it. The cord keeps its own texture, and fluid gets the level that it has in the new sequence.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..sequences import DARK, SLOTS
from .contrast import PALETTES
from .draw import Draw

#: Intensities this near to the cord's are taken for those of its own tissue.
CORD_BAND = 0.18
#: Voxels that the clustering looks at.
LOOKED_AT = 4000


def recontrast(
    image: NDArray[np.float32], covered: NDArray[np.bool_], cord: NDArray[np.float32], slot: int, draw: Draw
) -> NDArray[np.float32]:
    """Return an image as another sequence might show it.

    Parameters
    ----------
    image : array, shape (X, Y, Z)
        Signal over that of the cord (median 1).
    covered : array of bool, same shape
    cord : array, same shape
        Inside from 0.5.
    slot : int
        The sequence that is to be imitated.
    """
    centres = _clusters(image[covered], draw)
    fluid = _fluid(image, covered, cord)
    levels, slopes = _levels(centres, fluid, SLOTS[slot], slot in DARK, draw)
    width = 0.35 * np.gradient(centres) + 0.02
    total, weight = np.zeros_like(image), np.full_like(image, 1e-9)
    for centre, level, slope, spread in zip(centres, levels, slopes, width, strict=True):
        away = image - centre
        own = np.exp(-0.5 * (away / spread) ** 2) + 1e-6
        total += own * (level + slope * np.clip(away, -3 * spread, 3 * spread))
        weight += own
    return np.asarray(np.clip(total / weight, 0, 6) * covered, np.float32)


def _clusters(values: NDArray[np.float32], draw: Draw) -> NDArray[np.float64]:
    """Return the centres of 6 to 10 clusters of intensities, ascending (k-means in one dimension)."""
    some = values[:: max(1, len(values) // LOOKED_AT)].astype(np.float64)
    count = draw.integer(6, 10)
    centres = np.quantile(some, (np.arange(count) + 0.5) / count) + 1e-4 * np.arange(count)
    for _ in range(6):
        nearest = np.abs(some[:, None] - centres).argmin(axis=1)
        sums, counts = np.bincount(nearest, some, count), np.bincount(nearest, minlength=count)
        centres = np.sort(np.where(counts > 0, sums / np.maximum(counts, 1), centres))
    return np.maximum.accumulate(centres + 1e-4 * np.arange(count))


def _fluid(image: NDArray[np.float32], covered: NDArray[np.bool_], cord: NDArray[np.float32]) -> float:
    """Return the signal of the fluid: the 85th percentile around the cord, and at least a third above it."""
    around = image[covered & (cord < 0.3)]
    return max(1.33, float(np.percentile(around, 85))) if len(around) else 2.0


def _levels(
    centres: NDArray[np.float64], fluid: float, name: str, dark: bool, draw: Draw
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return level and slope of each cluster.

    What lies between cord and fluid is their mixture, or fluid of other flow, and stays so; what is darker than the cord
    lies outside the canal and may become anything.
    """
    palette = PALETTES[name]
    new_fluid = draw.uniform(*palette.csf)
    # Of both signs in images that are bright where lesions are, as grey matter is seldom otherwise.
    own = draw.uniform(0.4, 1.3) * (-1.0 if dark else 1.0) * (-1.0 if draw.chance(0.08) else 1.0)
    mixture = (new_fluid - 1) / (fluid - 1)
    levels, slopes = np.empty(len(centres)), np.empty(len(centres))
    for n, centre in enumerate(centres):
        if abs(centre - 1) < CORD_BAND:
            levels[n], slopes[n] = 1 + own * (centre - 1), own
        elif centre > 1:
            at = 1 + min(centre, 1.5 * fluid - 0.5) * mixture - mixture
            levels[n], slopes[n] = max(0.0, at * draw.uniform(0.93, 1.07)), mixture
        else:
            # Noise in the cord reaches a little below its band: no sudden steps there.
            far = min(1.0, (1 - CORD_BAND - centre) / 0.3)
            levels[n] = (1 - far) * (1 + own * (centre - 1)) + far * draw.uniform(0.05, 1.5)
            slopes[n] = (1 - far) * own + far * draw.uniform(-1, 1)
    return levels, slopes
