"""Training samples for the first stage of the cord localiser: whole fields of view at 2 mm."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from ..sequences import AXIAL, ISOTROPIC, SLOTS
from .anatomy import draw_anatomy
from .contrast import any_levels
from .draw import Draw
from .nothing import make_nothing
from .patches import Patch, sample
from .scan import Protocol, Stack, acquire, draw_protocol, stack_over
from .tissue import draw_body, look, seen_by

#: Spacing of the overview grid.
OVERVIEW_MM = 2.0
#: Size of a training sample in voxels: 96 x 112 x 128 mm.
SHAPE = (48, 56, 64)


def make_overview(seed: int) -> Patch:
    """Make one sample: an image of any sequence with its field of view, the cord as target.

    One in four shows no cord: the head, what lies beside the spine, or shapes and noise that are no anatomy at all.
    """
    draw = Draw(seed)
    if draw.chance(0.15):
        return make_nothing(draw, SHAPE, OVERVIEW_MM)
    name = SLOTS[draw.integer(0, len(SLOTS) - 1)]
    size = torch.tensor(SHAPE).float() * OVERVIEW_MM
    half = float(size[2]) / 2
    without = draw.chance(0.1)
    level = draw.uniform(-5, 2.5) if draw.chance(0.3) else draw.uniform(1, 19)
    anatomy = draw_anatomy(draw.fork(), -half - 20, half + 20, level, centred=True)
    if without:
        # Only what lies far above the foramen magnum, the head, or far to the side of the cord.
        anatomy = draw_anatomy(draw.fork(), -half - 20, half + 20, -8.0) if draw.chance(0.5) else anatomy
    points, low, high = _grid(draw.fork(), size, aside=75.0 if without else 0.0)
    body = draw_body(draw.fork(), anatomy, (), low - 30, high + 30)
    protocol = draw_protocol(draw, name)
    stack = _field_of_view(draw.fork(), protocol, points, low, high)
    see = seen_by(body, any_levels(draw, name), name)
    image, _ = acquire(see, protocol, stack, draw.fork(), torch.eye(4))
    values, covered = sample(image, stack, points)
    cord = look(body, points.reshape(-1, 3)).local.cord.reshape(SHAPE)
    return Patch(
        images=values.numpy().astype(np.float16)[None],
        coverage=covered.numpy()[None],
        slots=(0,),
        visible=np.zeros((1, *SHAPE), bool),
        cord=(cord * covered).numpy().astype(np.float16),
    )


def _grid(draw: Draw, size: torch.Tensor, aside: float) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return the sample's points, shape (*SHAPE, 3) in world mm (LAS order), and its corners; the cord is anywhere in plane."""
    shift = torch.tensor([draw.uniform(-30, 30), draw.uniform(-36, 36), 0.0])
    if aside:
        shift[0] = aside if draw.chance(0.5) else -aside
    index = torch.stack(torch.meshgrid(*[torch.arange(n).float() for n in SHAPE], indexing="ij"), dim=-1)
    local = (index + 0.5) * OVERVIEW_MM - size / 2
    points = local * torch.tensor([-1.0, 1.0, 1.0]) + shift
    flat = points.reshape(-1, 3)
    return points, flat.amin(0), flat.amax(0)


def _field_of_view(
    draw: Draw, protocol: Protocol, points: torch.Tensor, low: torch.Tensor, high: torch.Tensor
) -> Stack:
    """Draw the stack: in-plane at least 1.6 mm (finer is lost at 2 mm), and often a field of view smaller than the sample."""
    coarse = replace(protocol, in_plane_mm=max(1.6, protocol.in_plane_mm), blur_mm=0.7)
    if coarse.plane == ISOTROPIC:
        coarse = replace(coarse, slice_mm=coarse.in_plane_mm)
    low, high = low - 3.0, high + 3.0
    cut_low, cut_high = torch.zeros(3), torch.zeros(3)
    for axis in range(3):
        if draw.chance(0.45):
            # The cord's middle is at the origin: keep some of it in view.
            cut_low[axis] = draw.uniform(0, max(0.0, float(-low[axis]) - 12))
        if draw.chance(0.45):
            cut_high[axis] = draw.uniform(0, max(0.0, float(high[axis]) - 12))
    if coarse.plane == AXIAL and draw.chance(0.4):
        # A short stack, with the cord somewhere in it.
        length = draw.uniform(8, 40)
        middle = draw.uniform(float(low[2]) + length, float(high[2]) - length)
        cut_low[2] = max(0.0, middle - length / 2 - float(low[2]))
        cut_high[2] = max(0.0, float(high[2]) - middle - length / 2)
    if coarse.plane != AXIAL and coarse.plane != ISOTROPIC:
        thick = draw.uniform(18, 45)
        cut_low[0], cut_high[0] = max(0.0, float(-low[0]) - thick), max(0.0, float(high[0]) - thick)
    stack = stack_over(coarse, low + cut_low, high - cut_high)
    return Stack(stack.shape, stack.affine, stack.slice_axis, coarse.slice_mm)
