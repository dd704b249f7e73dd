"""Scans that show no cord but tubes: vessels and bones. For tests of a localiser."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..space import Grid
from .draw import Draw, Field

#: Voxel sizes (mm) and field of view (mm) of the scans: sagittal, axial, axial with thick slices.
GRIDS = (
    ((1.0, 1.0, 1.0), (52.0, 120.0, 160.0)),
    ((0.5, 0.5, 3.0), (90.0, 90.0, 51.0)),
    ((0.8, 0.8, 5.0), (150.0, 150.0, 90.0)),
)
#: Tubes are told apart by their edges' width, mm.
EDGE_MM = 0.5


def make_tubes(seed: int) -> tuple[NDArray[np.float32], Grid]:
    """Make one scan; equal seeds give equal scans.

    Muscle with texture, three to eight vessels that run up or slant, brighter or darker than what is around them, and none to
    three bones: a thin dark ring around marrow. No tube lies in another, and the marrow of a bone is wider than a cord, so that
    nothing looks like a cord in its fluid.

    Returns
    -------
    volume : array, shape grid.shape
    grid : Grid
    """
    draw = Draw(seed)
    spacing, field = GRIDS[draw.integer(0, len(GRIDS) - 1)]
    shape = [round(size / step) for size, step in zip(field, spacing, strict=True)]
    axes = [(torch.arange(n) + 0.5) * step - n * step / 2 for n, step in zip(shape, spacing, strict=True)]
    points = torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1)
    half = torch.tensor(field) / 2
    flat = points.reshape(-1, 3)
    texture = Field(draw.fork(), 2, -half, half, (9.0, 9.0, 18.0))(flat).reshape(2, *shape)
    values = 1 + draw.uniform(0.05, 0.2) * texture[0]
    taken = torch.zeros(shape, dtype=torch.bool)
    for _ in range(draw.integer(0, 3)):
        values, taken = _bone(draw.fork(), points, half, values, taken)
    for _ in range(draw.integer(3, 8)):
        values, taken = _vessel(draw.fork(), points, half, values, taken)
    # The signal falls off towards one side, as beside a surface coil.
    values = values * (1 + draw.uniform(-0.5, 0.5) * points[..., 1] / half[1])
    values = values + draw.log_uniform(0.02, 0.12) * draw.gaussian(*shape)
    affine = np.diag([-spacing[0], spacing[1], spacing[2], 1.0])
    return (100 * values.clamp(min=0)).numpy().astype(np.float32), Grid(
        (shape[0], shape[1], shape[2]), affine
    )


def _away(draw: Draw, points: Tensor, half: Tensor, lean: float) -> Tensor:
    """Return the distance in plane from a tube's winding axis, mm; ``lean`` is the most that it moves per mm of height."""
    start = [draw.uniform(-0.8, 0.8) * float(half[axis]) for axis in (0, 1)]
    slope = [draw.uniform(-lean, lean) for _ in range(2)]
    height = points[..., 2]
    bend = draw.uniform(0, 4) * torch.sin(height / draw.uniform(15, 40) + draw.uniform(0, 6))
    x = points[..., 0] - start[0] - slope[0] * height - bend
    y = points[..., 1] - start[1] - slope[1] * height
    # As wide as long across the tube's own direction.
    return torch.hypot(x / (1 + slope[0] ** 2) ** 0.5, y / (1 + slope[1] ** 2) ** 0.5)


def _inside(away: Tensor, radius: float) -> Tensor:
    return torch.sigmoid((radius - away) / (EDGE_MM / 2))


def _vessel(draw: Draw, points: Tensor, half: Tensor, values: Tensor, taken: Tensor) -> tuple[Tensor, Tensor]:
    """Add a vessel where there is room for it."""
    away = _away(draw, points, half, draw.uniform(0, 0.7))
    radius = draw.log_uniform(1.5, 5.0)
    if bool((taken & (away < radius + 2)).any()):
        return values, taken
    level = draw.uniform(1.3, 3.0) if draw.chance(0.6) else draw.uniform(0.0, 0.7)
    filled = _inside(away, radius)
    return values + (level - values) * filled, taken | (away < radius + 2)


def _bone(draw: Draw, points: Tensor, half: Tensor, values: Tensor, taken: Tensor) -> tuple[Tensor, Tensor]:
    """Add a bone where there is room for it: a thin dark ring around marrow."""
    away = _away(draw, points, half, 0.2)
    radius, thick = draw.uniform(11, 20), draw.uniform(1.0, 2.0)
    if bool((taken & (away < radius + 2)).any()):
        return values, taken
    outer, inner = _inside(away, radius), _inside(away, radius - thick)
    values = values + (draw.uniform(0.0, 0.25) - values) * outer
    return values + (draw.uniform(0.6, 1.8) - values) * inner, taken | (away < radius + 2)
