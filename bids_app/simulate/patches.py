"""Training samples: a length of a simulated cord in the common space, seen by some sequences."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from .. import psir, space
from ..sequences import AXIAL, SLOTS
from .anatomy import Anatomy, draw_anatomy
from .block import Block, make_block
from .contrast import VISIBILITY, Levels, draw_levels, lesion_change
from .draw import Draw
from .lesions import UPPER_NECK, Lesion, draw_lesions
from .scan import Protocol, Stack, acquire, draw_protocol, stack_over
from .tissue import Body, Scene, draw_body, signal

#: Slices of a training patch: 32 mm.
PATCH_LENGTH = 64
#: Chance that a participant has each sequence, by slot; at least one is always there.
PRESENCE = {"T2Sag": 0.7, "STIR": 0.3, "T2starAx": 0.4, "T1": 0.25, "T2Ax": 0.35, "MP2RAGE": 0.2, "PSIR": 0.2}
#: A voxel belongs to a visible lesion from this share of it, averaged over the slice that shows it.
LEAST_SHARE = 0.45
CPU = torch.device("cpu")


@dataclass(frozen=True, eq=False)
class Patch:
    """One training sample.

    Attributes
    ----------
    images : array, shape (S, X, Y, Z), float16
        Signal in the common space, one image per acquired sequence, white matter about 1; 0 where not covered.
    coverage : array, shape (S, X, Y, Z), bool
    slots : tuple of int
        Encoder slot of each image.
    visible : array, shape (S, X, Y, Z), bool
        Lesions as each sequence shows them, where it covers them.
    cord : array, shape (X, Y, Z), float16
    grey : array, shape (X, Y, Z), float16, optional
        Grey matter; None where it is not known.
    """

    images: NDArray[np.float16]
    coverage: NDArray[np.bool_]
    slots: tuple[int, ...]
    visible: NDArray[np.bool_]
    cord: NDArray[np.float16]
    grey: NDArray[np.float16] | None = None

    @property
    def lesion(self) -> NDArray[np.bool_]:
        """Lesions that at least one acquired sequence shows where it covers them, shape (X, Y, Z)."""
        return np.asarray(self.visible.any(axis=0))


def make_patch(
    seed: int,
    length: int = PATCH_LENGTH,
    most: int = 3,
    aside_mm: float = 0.0,
    device: torch.device = CPU,
    presence: Mapping[str, float] = PRESENCE,
    levels: Callable[[Draw, str], Levels] = draw_levels,
    protocol: Callable[[Draw, str], Protocol] = draw_protocol,
    visibility: Mapping[str, float] = VISIBILITY,
) -> Patch:
    """Make one sample; equal seeds give equal samples on the same kind of device.

    Parameters
    ----------
    length : int
        Slices of 0.5 mm along the cord.
    most : int
        At most this many sequences are acquired.
    aside_mm : float
        How far to the left of the cord the crop lies: for samples without a cord.
    presence : mapping
        Chance of each sequence.
    levels : callable
        Draws the brightness of the tissues in a sequence.
    protocol : callable
        Draws how a sequence is acquired.
    visibility : mapping
        Chance that a sequence shows a lesion.
    """
    draw = Draw(seed)
    names = _acquired(draw, most, presence)
    half = length * space.SPACING_MM / 2
    # Necks are scanned more often than backs.
    level = draw.uniform(1.0, 8.5) if draw.chance(0.6) else draw.uniform(1.0, 20.0)
    anatomy = draw_anatomy(draw.fork(), -half, half, level)
    points = _crop(draw.fork(), anatomy, length, aside_mm).to(device)
    lesions = _lesions(draw.fork(), anatomy, names, half, visibility)
    reach = torch.tensor([20.0, 20.0, half + 12.0])
    body = draw_body(draw.fork(), anatomy, lesions, -reach, reach)
    block = make_block(anatomy, -half, half, aside_mm, device)
    scene = block.look(body)
    view = _View(body, block, scene, points, (levels, protocol), wide=aside_mm > 0)
    seen = [_see(draw.fork(), view, name, moved=order > 0) for order, name in enumerate(names)]
    tables = torch.stack([scene.local.cord, scene.spread(scene.grey * scene.close.cord)])
    cord, grey = block.sample(tables, points.reshape(-1, 3)).reshape(2, *points.shape[:3])
    images = [image.cpu().numpy() for image, _, _ in seen]
    for row, name in enumerate(names):
        if name == psir.PSIR:
            # Its zero is found from the image, as the app does.
            found = psir.upright(images[row], seen[row][1].cpu().numpy(), cord.cpu().numpy())
            images[row] = images[row] if found is None else found.image
    return Patch(
        images=np.stack(images).astype(np.float16),
        coverage=np.stack([covered.cpu().numpy() for _, covered, _ in seen]),
        slots=tuple(SLOTS.index(n) for n in names),
        visible=np.stack([visible.cpu().numpy() for _, _, visible in seen]),
        cord=cord.cpu().numpy().astype(np.float16),
        grey=grey.cpu().numpy().astype(np.float16),
    )


def _acquired(draw: Draw, most: int, presence: Mapping[str, float]) -> list[str]:
    """Choose the acquired sequences; the reference first."""
    names = [name for name in SLOTS if draw.chance(presence[name])]
    if not names:
        names = [SLOTS[draw.integer(0, len(SLOTS) - 1)]]
    while len(names) > most:
        names.pop(draw.integer(0, len(names) - 1))
    return names


def _lesions(
    draw: Draw, anatomy: Anatomy, names: list[str], half: float, visibility: Mapping[str, float]
) -> tuple[Lesion, ...]:
    free = 0.36 if anatomy.level_at(0.0) < UPPER_NECK else 0.48
    count = 0 if draw.chance(free) else min(6, 1 + int(-math.log(1 - draw.uniform(0, 0.999)) * 1.5))
    lesions = draw_lesions(draw, count, -half - 3, half + 3, lambda z: anatomy.level_at(z) < UPPER_NECK)
    return tuple(
        replace(
            lesion,
            change={name: lesion_change(draw, name, lesion.strength, visibility[name]) for name in names},
        )
        for lesion in lesions
    )


def _crop(draw: Draw, anatomy: Anatomy, length: int, aside_mm: float) -> Tensor:
    """Lay the crop around the cord's centre as a localiser finds it: a little off.

    Returns
    -------
    tensor, shape (48, 48, length, 3)
        World mm of each voxel, in LAS order.
    """
    z = (torch.arange(length, dtype=torch.float32) - (length - 1) / 2) * space.SPACING_MM
    centre = anatomy.centre(z)
    wander = torch.stack([torch.sin(z / draw.uniform(8, 30) + draw.uniform(0, 6)) for _ in range(2)], dim=1)
    centre = centre + 0.8 * draw.gaussian(1, 2) + 0.4 * wander
    affine = np.diag([-space.SPACING_MM, space.SPACING_MM, space.SPACING_MM, 1.0])
    affine[:3, 3] = (100.0, -100.0, float(z[0]))
    grid = space.Grid((400, 400, length), affine)
    middle = np.concatenate([centre.numpy(), z.numpy()[:, None]], axis=1)
    starts = space.crop_starts(grid.to_index(middle)[:, :2])
    points = grid.to_mm(space.crop_index(starts).astype(float))
    points[..., 0] -= aside_mm
    return torch.from_numpy(points).float()


@dataclass(frozen=True, eq=False)
class _View:
    """A body tabulated around a crop, and the crop's points, shape (48, 48, N, 3) world mm."""

    body: Body
    block: Block
    scene: Scene
    points: Tensor
    draws: tuple[Callable[[Draw, str], Levels], Callable[[Draw, str], Protocol]]
    wide: bool


def _see(draw: Draw, view: _View, name: str, moved: bool) -> tuple[Tensor, Tensor, Tensor]:
    """Acquire one sequence around the crop and resample it there.

    Returns
    -------
    image, coverage, visible : tensor, shape (48, 48, N)
    """
    make_levels, make_protocol = view.draws
    protocol, levels = make_protocol(draw, name), make_levels(draw, name)
    table = torch.stack(
        [
            signal(view.body, view.scene, levels, name, view.wide),
            view.scene.lesion_map(view.body, name),
        ]
    )
    flat = view.points.reshape(-1, 3)
    # A tilted stack needs more room to cover the crop.
    room = 14 * abs(math.sin(math.radians(protocol.tilt))) + 5
    low, high = flat.amin(0).cpu() - room, flat.amax(0).cpu() + room
    if draw.chance(0.3 if protocol.plane == AXIAL else 0.15):
        # The field of view ends within the crop.
        cut = draw.uniform(0.2, 0.7) * float(high[2] - low[2])
        low, high = (
            (low + torch.tensor([0, 0, cut]), high)
            if draw.chance(0.5)
            else (low, high - torch.tensor([0, 0, cut]))
        )
    stack = stack_over(protocol, low, high)
    motion = (_motion(draw) if moved else torch.eye(4)).to(flat)
    image, shares = acquire(lambda at: view.block.sample(table, at), protocol, stack, draw, motion)
    values, covered = sample(image, stack, view.points)
    covered &= _with_data(draw.fork(), covered)
    # The zero of a file's signal is known to some per cent of the cord only, where it had to be found.
    zero = draw.uniform(-0.12, 0.12) if draw.chance(0.25) else 0.0
    values = (values + zero) * covered
    # A label lies where the lesion is on the reference, not where motion has put it in this image.
    back = torch.linalg.inv(motion)
    share, _ = sample(shares[0], stack, view.points @ back[:3, :3].T + back[:3, 3])
    return values, covered, (share >= LEAST_SHARE) & covered


def _with_data(draw: Draw, covered: Tensor) -> Tensor:
    """Return where an image has data, as some files leave it: black slices, a black wedge or edge beside the cord."""
    kept = torch.ones_like(covered)
    if draw.chance(0.94):
        return kept
    axis = draw.integer(0, 2)
    size = covered.shape[axis]
    at = torch.arange(size).to(covered.device)
    if axis == 2:
        first = draw.integer(0, size - 1)
        hole = (at >= first) & (at < first + draw.integer(2, 16))
    else:
        width = draw.integer(2, size // 3)
        hole = at < width if draw.chance(0.5) else at >= size - width
    shape = [1, 1, 1]
    shape[axis] = size
    return kept & ~hole.reshape(shape)


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
    inverse = torch.linalg.inv(stack.affine).to(points)
    index = points @ inverse[:3, :3].T + inverse[:3, 3]
    size = torch.tensor(stack.shape).to(points)
    covered = ((index >= -0.5) & (index <= size - 0.5)).all(dim=-1)
    unit = (index / (size - 1) * 2 - 1).flip(-1)
    values = F.grid_sample(image[None, None], unit[None], align_corners=True, padding_mode="border")[0, 0]
    return values * covered, covered


def shortened(patch: Patch, along: int) -> Patch:
    """Return a patch with ``along`` neighbours along the cord taken together: means of the data, lesions where one is."""

    def parts(array: NDArray[Any]) -> NDArray[Any]:
        return array.reshape(*array.shape[:-1], -1, along)

    covered = parts(patch.coverage)
    total = (parts(patch.images).astype(np.float32) * covered).sum(-1)
    return Patch(
        images=(total / np.maximum(covered.sum(-1), 1)).astype(np.float16),
        coverage=np.asarray(covered.any(-1)),
        slots=patch.slots,
        visible=np.asarray(parts(patch.visible).any(-1)),
        cord=parts(patch.cord).mean(-1, dtype=np.float32).astype(np.float16),
        grey=None if patch.grey is None else parts(patch.grey).mean(-1, dtype=np.float32).astype(np.float16),
    )
