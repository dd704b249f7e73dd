"""Training samples: a length of a simulated cord in the common space, seen by some sequences."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from .. import space
from ..sequences import AXIAL, SLOTS
from .anatomy import Anatomy, draw_anatomy
from .contrast import draw_levels, lesion_change
from .draw import Draw
from .lesions import Lesion, draw_lesions
from .scan import Stack, acquire, draw_protocol, stack_over
from .tissue import Body, draw_body, look

#: Slices of a training patch: 32 mm.
PATCH_LENGTH = 64
#: Chance that a participant has each sequence, by slot; at least one is always there.
PRESENCE = {"T2Sag": 0.7, "STIR": 0.3, "T2starAx": 0.4, "T1": 0.25, "T2Ax": 0.35, "MP2RAGE": 0.2}
#: A change of signal below this is not a lesion that anyone could see.
LEAST_CHANGE = 0.03


@dataclass(frozen=True, eq=False)
class Patch:
    """One training sample.

    Attributes
    ----------
    images : array, shape (S, 48, 48, L), float16
        Normalised, in the common space, one per acquired sequence.
    coverage : array, shape (S, 48, 48, L), bool
    slots : tuple of int
        Encoder slot of each image.
    visible : array, shape (S, 48, 48, L), bool
        Lesions that each sequence shows where it covers them.
    cord : array, shape (48, 48, L), float16
    """

    images: NDArray[np.float16]
    coverage: NDArray[np.bool_]
    slots: tuple[int, ...]
    visible: NDArray[np.bool_]
    cord: NDArray[np.float16]

    @property
    def lesion(self) -> NDArray[np.bool_]:
        """Lesions that at least one acquired sequence shows where it covers them, shape (48, 48, L)."""
        return np.asarray(self.visible.any(axis=0))


def make_patch(seed: int, length: int = PATCH_LENGTH, most: int = 3, aside_mm: float = 0.0) -> Patch:
    """Make one sample; equal seeds give equal samples.

    Parameters
    ----------
    length : int
        Slices of 0.5 mm along the cord.
    most : int
        At most this many sequences are acquired.
    aside_mm : float
        How far to the left of the cord the crop lies: for samples without a cord.
    """
    draw = Draw(seed)
    names = _acquired(draw, most)
    half = length * space.SPACING_MM / 2
    anatomy = draw_anatomy(draw.fork(), -half, half, draw.uniform(1.2, 20.0))
    starts, grid = _crop(draw.fork(), anatomy, length)
    starts[:, 0] += round(aside_mm / space.SPACING_MM)
    points = torch.from_numpy(grid.to_mm(space.crop_index(starts).astype(float))).float()
    low, high = points.reshape(-1, 3).amin(0), points.reshape(-1, 3).amax(0)
    lesions = _lesions(draw.fork(), names, half)
    body = draw_body(draw.fork(), anatomy, lesions, low - 6, high + 6)
    images, coverage = [], []
    for order, name in enumerate(names):
        image, covered = _see(draw.fork(), body, name, points, moved=order > 0, wide=aside_mm > 0)
        images.append(space.normalise(image.numpy(), covered.numpy()))
        coverage.append(covered.numpy())
    scene = look(body, points.reshape(-1, 3))
    visible = _visible(lesions, names, coverage, scene.occupancy, points.shape[:3])
    return Patch(
        images=np.stack(images).astype(np.float16),
        coverage=np.stack(coverage),
        slots=tuple(SLOTS.index(n) for n in names),
        visible=visible,
        cord=scene.local.cord.reshape(points.shape[:3]).numpy().astype(np.float16),
    )


def _acquired(draw: Draw, most: int) -> list[str]:
    """Choose the acquired sequences; the reference first."""
    names = [name for name in SLOTS if draw.chance(PRESENCE[name])]
    if not names:
        names = [SLOTS[draw.integer(0, len(SLOTS) - 1)]]
    while len(names) > most:
        names.pop(draw.integer(0, len(names) - 1))
    return names


def _lesions(draw: Draw, names: list[str], half: float) -> tuple[Lesion, ...]:
    count = 0 if draw.chance(0.35) else min(6, 1 + int(-math.log(1 - draw.uniform(0, 0.999)) * 1.0))
    lesions = draw_lesions(draw, count, -half - 3, half + 3)
    return tuple(
        replace(lesion, change={name: lesion_change(draw, name, lesion.strength) for name in names})
        for lesion in lesions
    )


def _crop(draw: Draw, anatomy: Anatomy, length: int) -> tuple[NDArray[np.int64], space.Grid]:
    """Crop around the cord's centre as a localiser finds it: a little off."""
    z = (torch.arange(length, dtype=torch.float32) - (length - 1) / 2) * space.SPACING_MM
    centre = anatomy.centre(z)
    wander = torch.stack([torch.sin(z / draw.uniform(8, 30) + draw.uniform(0, 6)) for _ in range(2)], dim=1)
    centre = centre + 0.8 * draw.gaussian(1, 2) + 0.4 * wander
    affine = np.diag([-space.SPACING_MM, space.SPACING_MM, space.SPACING_MM, 1.0])
    affine[:3, 3] = (100.0, -100.0, float(z[0]))
    grid = space.Grid((400, 400, length), affine)
    points = np.concatenate([centre.numpy(), z.numpy()[:, None]], axis=1)
    return space.crop_starts(grid.to_index(points)[:, :2]), grid


def _see(draw: Draw, body: Body, name: str, points: Tensor, moved: bool, wide: bool) -> tuple[Tensor, Tensor]:
    """Acquire one sequence around the crop and resample it there; returns image and coverage, both points.shape[:3]."""
    protocol = draw_protocol(draw, name)
    low, high = points.reshape(-1, 3).amin(0) - 3, points.reshape(-1, 3).amax(0) + 3
    # A tilted stack needs more room to cover the crop.
    room = 14 * abs(math.sin(math.radians(protocol.tilt))) + 2
    low, high = low - room, high + room
    if protocol.plane == AXIAL and draw.chance(0.3):
        cut = draw.uniform(0.2, 0.7) * float(high[2] - low[2])
        low, high = (
            (low + torch.tensor([0, 0, cut]), high)
            if draw.chance(0.5)
            else (low, high - torch.tensor([0, 0, cut]))
        )
    stack = stack_over(protocol, low, high)
    motion = _motion(draw) if moved else torch.eye(4)
    image = acquire(body, draw_levels(draw, name), protocol, stack, draw, motion, wide)
    return sample(image, stack, points)


def _motion(draw: Draw) -> Tensor:
    """Draw what the alignment leaves: well under a millimetre in plane, more along the cord, a degree or two."""
    angles = [math.radians(draw.normal(0, 1.2)) for _ in range(3)]
    motion = torch.eye(4)
    for axis, angle in enumerate(angles):
        turn = torch.eye(4)
        a, b = [(1, 2), (0, 2), (0, 1)][axis]
        turn[a, a] = turn[b, b] = math.cos(angle)
        turn[a, b], turn[b, a] = -math.sin(angle), math.sin(angle)
        motion = motion @ turn
    motion[:3, 3] = torch.tensor([draw.normal(0, 0.35), draw.normal(0, 0.35), draw.normal(0, 0.8)])
    return motion


def sample(image: Tensor, stack: Stack, points: Tensor) -> tuple[Tensor, Tensor]:
    """Interpolate a stack at world points, shape (..., 3); returns values and coverage of shape (...)."""
    inverse = torch.linalg.inv(stack.affine)
    index = points @ inverse[:3, :3].T + inverse[:3, 3]
    size = torch.tensor(stack.shape, dtype=torch.float32)
    covered = ((index >= -0.5) & (index <= size - 0.5)).all(dim=-1)
    unit = (index / (size - 1) * 2 - 1).flip(-1)
    values = F.grid_sample(image[None, None], unit[None], align_corners=True, padding_mode="border")[0, 0]
    return values * covered, covered


def _visible(
    lesions: tuple[Lesion, ...],
    names: list[str],
    coverage: list[NDArray[np.bool_]],
    occupancy: tuple[Tensor, ...],
    shape: torch.Size,
) -> NDArray[np.bool_]:
    """Return the lesions that each sequence shows, shape (S, *shape)."""
    visible = np.zeros((len(names), *shape), bool)
    for lesion, inside in zip(lesions, occupancy, strict=True):
        where = inside.reshape(shape).numpy() >= 0.5
        for row, name in enumerate(names):
            if abs(lesion.change.get(name, 0.0)) >= LEAST_CHANGE:
                visible[row] |= where & coverage[row]
    return visible
