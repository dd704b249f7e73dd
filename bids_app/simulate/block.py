"""What surrounds a length of cord, tabulated once at 0.5 mm: every sequence of a training sample then only reads it.

The table follows the cord's centre from slice to slice, so that it stays narrow where the cord leans.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from .. import space
from .anatomy import Anatomy
from .tissue import Body, Scene, look

#: Half the width of the table in plane, mm: the crop, and room for tilt, motion and blur.
HALF_MM = 16.0
#: How far the table goes on beyond the crop along the cord, mm.
BEYOND_MM = 6.0


@dataclass(frozen=True, eq=False)
class Block:
    """A sheared grid around the cord.

    Attributes
    ----------
    z0 : float
        World z of the lowest slice, mm.
    centre : tensor, shape (N, 2)
        World x, y of the middle of each slice, mm.
    axes : tuple of tensor
        Positions relative to that middle along x and y, and z relative to ``z0``, mm.
    """

    z0: float
    centre: Tensor
    axes: tuple[Tensor, Tensor, Tensor]

    @property
    def shape(self) -> tuple[int, int, int]:
        """Size of the table."""
        return (len(self.axes[0]), len(self.axes[1]), len(self.axes[2]))

    def look(self, body: Body) -> Scene:
        """Evaluate a body whose textures are fields over positions relative to the cord's centre."""
        x, y, z = self.axes
        n = self.shape
        points = torch.stack(
            [
                (x[:, None, None] + self.centre[:, 0]).expand(n),
                (y[None, :, None] + self.centre[:, 1]).expand(n),
                (z + self.z0).expand(n),
            ],
            dim=-1,
        ).reshape(-1, 3)
        around = (x, y, z + self.z0)
        textures = tuple(
            field.on_grid(around).flatten(1)
            for field in (body.lesion_shape, body.tracts, body.fine, body.coarse)
        )
        return look(body, points, textures, columns=n[2])

    def sample(self, table: Tensor, points: Tensor) -> Tensor:
        """Read tables, shape (C, X * Y * Z), at world points, shape (M, 3) mm; returns (C, M). Edges go on constant."""
        count = len(self.centre)
        height = ((points[:, 2] - self.z0) / space.SPACING_MM).clamp(0, count - 1.001)
        low = height.long()
        weight = (height - low)[:, None]
        centre = self.centre[low] * (1 - weight) + self.centre[low + 1] * weight
        unit = torch.cat([(points[:, :2] - centre) / HALF_MM, (height / (count - 1) * 2 - 1)[:, None]], dim=1)
        volume = table.reshape(1, len(table), *self.shape)
        read = F.grid_sample(
            volume, unit.flip(1)[None, None, None], align_corners=True, padding_mode="border"
        )
        return read[0, :, 0, 0]


def make_block(anatomy: Anatomy, z_low: float, z_high: float, aside_mm: float, device: torch.device) -> Block:
    """Lay a table around the cord between two heights (world mm), or beside it (``aside_mm`` to the left)."""
    low = z_low - BEYOND_MM
    count = int((z_high - z_low + 2 * BEYOND_MM) / space.SPACING_MM) + 1
    z = torch.arange(count, device=device) * space.SPACING_MM
    side = torch.arange(-HALF_MM, HALF_MM + space.SPACING_MM / 2, space.SPACING_MM, device=device)
    centre = anatomy.centre(z + low)
    centre[:, 0] -= aside_mm
    return Block(low, centre, (side, side, z))
