"""Lesions painted into real scans, on the scan's own voxels. Training uses none of this code.

A painted lesion is an ellipsoid that lies along the cord. It adds signal in proportion to how much of a voxel it fills, so
that noise, texture and partial volume stay those of the scan.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

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


@dataclass(frozen=True, eq=False)
class Placed:
    """A lesion at its place in the world.

    Attributes
    ----------
    centre : array, shape (3,)
        RAS+ mm.
    lean : array, shape (2,)
        How far the cord moves in x and y per mm of z: the lesion follows it.
    """

    lesion: Painted
    centre: FloatArray
    lean: FloatArray


def draw_bands(seed: int, bands: Sequence[tuple[float, float]], each: int) -> list[Painted]:
    """Draw lesions all along the cord, equally many in each band of contrast; length uniform from 4 to 20 mm."""
    random = np.random.default_rng(seed)
    result = []
    for low, high in bands:
        places = random.permutation((np.arange(each) + random.uniform(0.2, 0.8, each)) / each * 2 - 1)
        for place in places:
            result.append(replace(_draw(random, float(place)), contrast=random.uniform(low, high)))
    return result


def passes(placed: Sequence[Placed], apart_mm: float) -> list[list[int]]:
    """Share lesions out among as few passes as it takes to keep the ends of those of a pass apart; returns their numbers."""
    result: list[list[int]] = []
    for number, one in enumerate(placed):
        for some in result:
            if all(_gap_mm(one, placed[other]) >= apart_mm for other in some):
                some.append(number)
                break
        else:
            result.append([number])
    return result


def _gap_mm(one: Placed, other: Placed) -> float:
    between = abs(float(one.centre[2] - other.centre[2]))
    return between - (one.lesion.length_mm + other.lesion.length_mm) / 2


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


def place(scan: Scan, lesion: Painted) -> Placed:
    """Say where a lesion lies in a scan whose cord is known."""
    mm = scan.grid.to_mm(np.argwhere(scan.cord).astype(float))
    # A tenth of the cord at either end is left free.
    low, high = np.percentile(mm[:, 2], [10, 90])
    height = float((low + high) / 2 + lesion.along * (high - low) / 2)
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
    return Placed(lesion, centre, _direction(mm, height))


def paint(scan: Scan, placed: Sequence[Placed], darker: bool) -> tuple[FloatArray, list[FloatArray]]:
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
    values = scan.volume[scan.cord]
    for one in placed:
        share = _filling(scan, one, points, mm)
        reach = one.lesion.length_mm / 2 + AROUND_MM
        near = np.abs(mm[:, 2] - one.centre[2]) <= reach
        around = near & (share[scan.cord] == 0)
        if near.any():
            level = float(np.median(values[around if around.any() else near]))
            contrast = one.lesion.contrast
            change = 1 / contrast - 1 if darker else contrast - 1
            volume += (change * level * share).astype(np.float32)
        shares.append(share)
    return volume, shares


def _filling(scan: Scan, placed: Placed, points: NDArray[np.int64], mm: FloatArray) -> NDArray[np.float32]:
    lesion, height = placed.lesion, placed.centre[2]
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
        away = scan.grid.to_mm(near + offset) - placed.centre
        # The lesion follows the cord's lean.
        away[:, :2] -= away[:, 2:] * placed.lean
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
