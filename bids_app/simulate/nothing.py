"""Samples that show no cord: what a localiser must not be taken in by."""

from __future__ import annotations

import numpy as np
import torch

from .. import space
from .contrast import any_levels
from .draw import Draw, Field
from .patches import PATCH_LENGTH, Patch, make_patch


def make_cord_patch(seed: int) -> Patch:
    """Make a sample for the second stage of the localiser: one in three lies beside the cord or shows no anatomy at all."""
    draw = Draw(seed)
    if draw.chance(0.25):
        return make_nothing(draw, (space.CROP_VOXELS, space.CROP_VOXELS, PATCH_LENGTH), space.SPACING_MM)
    aside = draw.uniform(26, 60) if draw.chance(0.08) else 0.0
    return make_patch(seed, aside_mm=aside, levels=any_levels)


def make_nothing(draw: Draw, shape: tuple[int, int, int], spacing_mm: float) -> Patch:
    """Make a sample of rounded shapes, tubes, texture and noise: some other body part, a phantom, or a failed scan."""
    half = torch.tensor(shape) * spacing_mm / 2
    index = torch.stack(torch.meshgrid(*[torch.arange(n).float() for n in shape], indexing="ij"), dim=-1)
    points = ((index + 0.5) * spacing_mm - half).reshape(-1, 3)
    size = draw.log_uniform(8, 45)
    shapes = Field(draw.fork(), 2, -half, half, (size, size, size * draw.uniform(0.7, 2.0)))(points)
    texture = Field(draw.fork(), 1, -half, half, (6.0, 6.0, 6.0))(points)[0]
    steps = draw.uniform(1, 3)
    values = (
        torch.zeros(len(points)) if draw.chance(0.3) else (steps * shapes[0]).round() * draw.uniform(0.3, 1.5)
    )
    values = values + draw.uniform(0, 0.5) * texture + draw.uniform(0, 0.5) * shapes[1]
    if draw.chance(0.6):
        values = _with_tubes(draw.fork(), values, points, half)
    noise = draw.gaussian(len(points)).reshape(1, 1, *shape)
    if draw.chance(0.5):
        noise = torch.nn.functional.avg_pool3d(noise, 3, stride=1, padding=1) * 3
    values = values.reshape(shape) + draw.log_uniform(0.05, 1.5) * noise[0, 0]
    covered = torch.ones(shape, dtype=torch.bool)
    for axis in range(3):
        if draw.chance(0.5):
            cut = draw.integer(0, shape[axis] // 3)
            side = torch.arange(shape[axis])
            inside = (side >= cut) & (side < shape[axis] - draw.integer(0, shape[axis] // 3))
            covered &= inside.reshape([-1 if n == axis else 1 for n in range(3)])
    return Patch(
        images=(values * covered).numpy().astype(np.float16)[None],
        coverage=covered.numpy()[None],
        slots=(0,),
        visible=np.zeros((1, *shape), bool),
        cord=np.zeros(shape, np.float16),
    )


def _with_tubes(draw: Draw, values: torch.Tensor, points: torch.Tensor, half: torch.Tensor) -> torch.Tensor:
    """Add vessels, muscles and long bones, shape (M,): tubes of one level, or with a wall of another, in what is there."""
    for _ in range(draw.integer(1, 7)):
        start = [draw.uniform(-0.9, 0.9) * float(half[axis]) for axis in (0, 1)]
        lean = [draw.normal(0, 0.25) for _ in range(2)]
        bend = draw.uniform(0, 4) * torch.sin(points[:, 2] / draw.uniform(12, 50) + draw.uniform(0, 6))
        x = points[:, 0] - start[0] - lean[0] * points[:, 2] - bend
        y = points[:, 1] - start[1] - lean[1] * points[:, 2]
        away = torch.hypot(x, y * draw.log_uniform(0.7, 1.4))
        radius = draw.log_uniform(1.3, 14)
        inside = torch.sigmoid((radius - away) / 0.3)
        values = values + (draw.uniform(-0.5, 3.5) - values) * inside
        if draw.chance(0.4):
            inner = torch.sigmoid((radius - draw.uniform(0.8, 3.0) - away) / 0.3)
            values = values + (draw.uniform(-0.5, 3.5) - values) * inner
    return values
