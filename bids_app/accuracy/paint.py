"""Lesions painted into real scans, on the scan's own voxels. Training uses none of this code.

A painted lesion is an ellipsoid that lies along the cord. It adds signal in proportion to how much of a voxel it fills, so
that noise, texture and partial volume stay those of the scan.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..space import FloatArray, Grid
from .scans import Scan

#: Points along each side of a voxel at which the filling is looked at.
FINE = 4
#: The surrounding cord: this far from the lesion along the cord, mm.
AROUND_MM = 6.0


@dataclass(frozen=True)
class Painted:
    """A lesion to be painted.

    Attributes
    ----------
    along : float
        Place along the cord: -1 the lower, 1 the upper end of the part that the scan shows, ends left out.
    radial, angle : float
        Place in the cross-section: fraction of the cord's radius; radians from the right (0) to the front.
    radius_mm : tuple of float
        Half axes in plane: outwards from the cord's centre, and across.
    length_mm : float
    contrast : float
        Signal over that of the surrounding cord.
    """

    along: float
    radial: float
    angle: float
    radius_mm: tuple[float, float]
    length_mm: float
    contrast: float


def draw_sets(seed: int, sets: int, each: int) -> list[list[Painted]]:
    """Draw sets of lesions that keep apart: contrast uniform from 1.1 to 1.6, length uniform from 4 to 20 mm."""
    random = np.random.default_rng(seed)
    result = []
    for _ in range(sets):
        places = (np.arange(each) + random.uniform(0.2, 0.8, each)) / each * 2 - 1
        result.append([_draw(random, float(place)) for place in places])
    return result


def _draw(random: np.random.Generator, along: float) -> Painted:
    # Lateral, posterior and anterior columns as often as in Kearney et al.
    middle = random.choice([0.0, np.pi, -np.pi / 2, np.pi / 2], p=[0.295, 0.294, 0.353, 0.058])
    size = random.uniform(1.2, 2.8)
    return Painted(
        along=along,
        radial=random.uniform(0.4, 0.75),
        angle=float(middle + random.normal(0, 0.3)),
        radius_mm=(size, size * random.uniform(0.7, 1.4)),
        length_mm=random.uniform(4, 20),
        contrast=random.uniform(1.1, 1.6),
    )


def paint(scan: Scan, lesions: Sequence[Painted], darker: bool) -> tuple[FloatArray, list[FloatArray]]:
    """Paint lesions into a copy of a scan.

    Parameters
    ----------
    darker : bool
        Divide by the contrast instead: a T1-weighted scan shows lesions dark.

    Returns
    -------
    volume : array, shape of the scan
    filled : list of array, shape of the scan
        Share of each voxel that each lesion fills, cord only.
    """
    volume = scan.volume.astype(np.float32).copy()
    shares = []
    points = np.argwhere(scan.cord)
    mm = scan.grid.to_mm(points.astype(float))
    for lesion in lesions:
        share = _filling(scan, lesion, points, mm)
        values = scan.volume[scan.cord]
        near = np.abs(mm[:, 2] - _height(mm, lesion)) <= lesion.length_mm / 2 + AROUND_MM
        around = near & (share[scan.cord] == 0)
        level = float(np.median(values[around if around.any() else near]))
        change = 1 / lesion.contrast - 1 if darker else lesion.contrast - 1
        volume += (change * level * share).astype(np.float32)
        shares.append(share)
    return volume, shares


def _height(mm: FloatArray, lesion: Painted) -> float:
    """Return the world z of a lesion's middle; a tenth of the cord at either end is left free."""
    low, high = np.percentile(mm[:, 2], [10, 90])
    return float((low + high) / 2 + lesion.along * (high - low) / 2)


def _filling(scan: Scan, lesion: Painted, points: NDArray[np.int64], mm: FloatArray) -> NDArray[np.float32]:
    height = _height(mm, lesion)
    slab = np.abs(mm[:, 2] - height) <= max(3.0, float(scan.grid.spacing_mm.max()))
    middle, spread = mm[slab].mean(axis=0), mm[slab].std(axis=0)
    # An ellipse of half axes a and b has second moments a / 2 and b / 2.
    half = 2 * spread
    centre = np.array(
        [
            middle[0] + lesion.radial * half[0] * np.cos(lesion.angle),
            middle[1] + lesion.radial * half[1] * np.sin(lesion.angle),
            height,
        ]
    )
    lean = _direction(mm, height)
    out = np.array([np.cos(lesion.angle), np.sin(lesion.angle), 0])
    across = np.array([-np.sin(lesion.angle), np.cos(lesion.angle), 0])
    offsets = (
        np.stack(np.meshgrid(*[np.arange(FINE)] * 3, indexing="ij"), -1).reshape(-1, 3) + 0.5
    ) / FINE - 0.5
    share = np.zeros(scan.grid.shape, np.float32)
    close = np.abs(mm[:, 2] - height) <= lesion.length_mm / 2 + float(scan.grid.spacing_mm.max())
    near = points[close]
    total = np.zeros(len(near))
    for offset in offsets:
        away = scan.grid.to_mm(near + offset) - centre
        # The lesion follows the cord's lean.
        away[:, :2] -= away[:, 2:] * lean
        radius = (
            (away @ out / lesion.radius_mm[0]) ** 2
            + (away @ across / lesion.radius_mm[1]) ** 2
            + (away[:, 2] / (lesion.length_mm / 2)) ** 2
        )
        total += radius <= 1
    share[tuple(near.T)] = total / len(offsets)
    return share


def _direction(mm: FloatArray, height: float) -> FloatArray:
    """Return how far the cord's centre moves in x and y per mm of z, from the 30 mm around a height."""
    near = mm[np.abs(mm[:, 2] - height) <= 15]
    if np.ptp(near[:, 2]) < 6:
        return np.zeros(2)
    return np.asarray(np.polyfit(near[:, 2], near[:, :2], 1)[0])


def volume_mm3(share: FloatArray, grid: Grid) -> float:
    """Return a painted lesion's volume."""
    return float(share.sum() * grid.voxel_volume_mm3)
