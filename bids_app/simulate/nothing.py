"""Samples that show no cord: what a localiser must not be taken in by."""

from __future__ import annotations

import numpy as np
import torch

from .. import space
from .contrast import any_levels
from .draw import Draw, Field
from .patches import PATCH_LENGTH, Patch, make_patch


def make_cord_patch(seed: int) -> Patch:
    """Make a sample for the second stage of the localiser: one in eight lies beside the cord or shows no anatomy at all."""
    draw = Draw(seed)
    if draw.chance(0.05):
        return make_nothing(draw, (space.CROP_VOXELS, space.CROP_VOXELS, PATCH_LENGTH), space.SPACING_MM)
    aside = draw.uniform(26, 60) if draw.chance(0.08) else 0.0
    return make_patch(seed, aside_mm=aside, levels=any_levels)


def make_nothing(draw: Draw, shape: tuple[int, int, int], spacing_mm: float) -> Patch:
    """Make a sample of rounded shapes, texture and noise: some other body part, a phantom, or a failed scan."""
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
