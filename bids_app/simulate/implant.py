"""Lesions implanted into real crops that have none: real anatomy and noise, known lesions."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from .. import space
from ..sequences import SLOTS
from .contrast import VISIBILITY, lesion_change
from .draw import Draw
from .lesions import LEAST_CHANGE, POSTERIOR, draw_lesion, lesion_noise, occupancy
from .patches import LEAST_SHARE, Patch


@dataclass(frozen=True)
class Slices:
    """How an image was sliced: the axis of the crop that its slices lie across, their thickness, and the pixel size (mm)."""

    axis: int
    thickness_mm: float
    pixel_mm: float


def implant(patch: Patch, slices: tuple[Slices, ...], draw: Draw) -> Patch:
    """Return a copy of a patch with up to three lesions in it; unchanged where it shows too little cord.

    Parameters
    ----------
    patch : Patch
        Of a cord without lesions.
    slices : tuple of Slices
        One for each image.
    """
    cord = torch.from_numpy(patch.cord.astype(np.float32))
    half = cord.shape[2] * space.SPACING_MM / 2
    height = (torch.arange(cord.shape[2]) + 0.5) * space.SPACING_MM - half
    known = (cord >= 0.5).sum(dim=(0, 1)) > 20
    if int(known.sum()) < 8:
        return patch
    u, v = _from_centre(cord, known)
    z = height.expand_as(cord)
    corner = torch.tensor([15.0, 15.0, half + 4])
    noise = lesion_noise(draw.fork(), -corner, corner)(torch.stack([u, v, z], dim=-1).reshape(-1, 3))
    images, visible = patch.images.astype(np.float32), patch.visible.copy()
    for _ in range(draw.integer(1, 3)):
        at = int(torch.nonzero(known)[draw.integer(0, int(known.sum()) - 1)])
        lesion = draw_lesion(draw, float(height[at]), draw.uniform(*POSTERIOR))
        inside = occupancy(
            lesion, (u.reshape(-1), v.reshape(-1), z.reshape(-1)), _half(cord[..., at]), noise[0]
        )
        share = inside.reshape(cord.shape) * (cord >= 0.5)
        for row, slot in enumerate(patch.slots):
            change = lesion_change(draw, SLOTS[slot], lesion.strength, VISIBILITY[SLOTS[slot]])
            if abs(change) < LEAST_CHANGE:
                continue
            seen = _sliced(share, slices[row]).numpy()
            images[row] *= 1 + change * seen
            visible[row] |= (seen >= LEAST_SHARE) & patch.coverage[row]
    return replace(patch, images=images.astype(np.float16), visible=visible)


def _from_centre(cord: Tensor, known: Tensor) -> tuple[Tensor, Tensor]:
    """Return how far right and in front of the cord's centre each voxel lies, mm; slices without cord take their neighbour's."""
    i = torch.arange(cord.shape[0], dtype=torch.float32)
    j = torch.arange(cord.shape[1], dtype=torch.float32)
    mass = cord.sum(dim=(0, 1)).clamp(min=1e-6)
    slices = np.arange(cord.shape[2])
    centre = [
        np.interp(slices, slices[known.numpy()], values.numpy()[known.numpy()])
        for values in (
            (cord.sum(dim=1) * i[:, None]).sum(0) / mass,
            (cord.sum(dim=0) * j[:, None]).sum(0) / mass,
        )
    ]
    middle = [torch.from_numpy(values).float() for values in centre]
    # The crop runs to the left.
    u = -(i[:, None, None] - middle[0]) * space.SPACING_MM
    v = (j[None, :, None] - middle[1]) * space.SPACING_MM
    return u.expand_as(cord), v.expand_as(cord)


def _half(section: Tensor) -> tuple[float, float]:
    """Return half the width and depth of a cross-section, mm: those of the ellipse with its second moments."""
    where = torch.nonzero(section >= 0.5).float() * space.SPACING_MM
    spread = where.std(dim=0, unbiased=False)
    return 2 * float(spread[0]), 2 * float(spread[1])


def _sliced(share: Tensor, slices: Slices) -> Tensor:
    """Average over a slice's thickness, and blur a little in plane, as the scan did to everything else."""
    count = max(1, round(slices.thickness_mm / space.SPACING_MM)) | 1
    shape, pad = [1, 1, 1], [0, 0, 0]
    shape[slices.axis], pad[slices.axis] = count, count // 2
    kernel = torch.full((1, 1, *shape), 1 / count)
    result = F.conv3d(share[None, None], kernel, padding=tuple(pad))
    sigma = max(0.4, 0.5 * slices.pixel_mm / space.SPACING_MM)
    reach = math.ceil(2 * sigma)
    line = torch.exp(-(torch.arange(-reach, reach + 1) ** 2) / (2 * sigma**2))
    for axis in range(3):
        if axis != slices.axis:
            shape, pad = [1, 1, 1], [0, 0, 0]
            shape[axis], pad[axis] = len(line), reach
            result = F.conv3d(result, (line / line.sum()).reshape(1, 1, *shape), padding=tuple(pad))
    return result[0, 0]
