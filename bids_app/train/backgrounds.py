"""Real cords without lesions as negatives and as backgrounds: the same cord never looks the same twice."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from .. import psir, space
from ..sequences import SLOTS
from ..simulate.draw import Draw
from ..simulate.implant import Slices, implant
from ..simulate.patches import Patch
from ..simulate.recontrast import recontrast

#: Share of the samples that get lesions implanted.
IMPLANTED = 0.5
#: Share of the images that keep their own contrast, of samples that show only one image, and of those with thicker slices.
AS_IT_IS, ALONE, THICKER = 0.5, 0.55, 0.4
#: Slices that sagittal, axial and isotropic scans are made thicker to, mm.
THICK_MM = {0: (2.0, 4.0), 2: (2.5, 6.0)}


def background(patch: Patch, slices: tuple[Slices, ...], draw: Draw) -> Patch:
    """Return a window of a real cord as another person in another scanner might have shown it, with lesions or without.

    Parameters
    ----------
    patch : Patch
        One or more images of a cord without lesions, relative to the median of the cord.
    slices : tuple of Slices
        One for each image.
    """
    shape = _form(draw)
    cord = _moved(torch.from_numpy(patch.cord.astype(np.float32))[None], shape)[0].numpy()
    rows, slots = _chosen(patch, draw)
    images, coverage, new_slices = [], [], []
    for number, (row, slot) in enumerate(zip(rows, slots, strict=True)):
        motion = shape if number == 0 else _nudged(shape, draw)
        own = torch.from_numpy(
            np.stack([patch.images[row].astype(np.float32), patch.coverage[row].astype(np.float32)])
        )
        image, cover = _moved(own, motion).numpy()
        covered = cover > 0.5
        image = np.where(covered, image / np.maximum(cover, 0.5), 0).astype(np.float32)
        if slot != patch.slots[row] or number > 0:
            image = recontrast(image, covered, cord, slot, draw)
        cut = slices[row]
        if draw.chance(THICKER):
            image, cut = _thickened(image, covered, cut, SLOTS[slot], draw)
        images.append(image)
        coverage.append(covered)
        new_slices.append(cut)
    result = Patch(
        np.stack(images).astype(np.float16),
        np.stack(coverage),
        tuple(slots),
        np.zeros((len(rows), *cord.shape), bool),
        cord.astype(np.float16),
    )
    if draw.chance(IMPLANTED):
        result = implant(result, tuple(new_slices), draw)
    scanned = _scanned(result, draw)
    for row, slot in enumerate(result.slots):
        if SLOTS[slot] == psir.PSIR:
            found = psir.upright(scanned[row].astype(np.float32), result.coverage[row], cord)
            scanned[row] = scanned[row] if found is None else found.image
    return replace(result, images=scanned)


def _chosen(patch: Patch, draw: Draw) -> tuple[list[int], list[int]]:
    """Return which image each shown sequence comes from, and the sequences."""
    row = draw.integer(0, len(patch.slots) - 1)
    others = [n for n in range(len(SLOTS)) if n != patch.slots[row]]
    first = patch.slots[row] if draw.chance(AS_IT_IS) else others[draw.integer(0, len(others) - 1)]
    rows, slots = [row], [first]
    more = 0 if draw.chance(ALONE) else draw.integer(1, 2)
    for _ in range(more):
        left = [n for n in range(len(SLOTS)) if n not in slots]
        rows.append(draw.integer(0, len(patch.slots) - 1))
        slots.append(left[draw.integer(0, len(left) - 1)])
    order = np.argsort(slots, kind="stable")
    return [rows[n] for n in order], [slots[n] for n in order]


def _form(draw: Draw) -> Tensor:
    """Draw another person's build: sizes, a lean and a turn; a matrix from the new crop's mm to the old one's, (3, 4)."""
    if draw.chance(0.25):
        return torch.eye(3, 4)
    angle = math.radians(draw.normal(0, 5))
    turn = torch.tensor(
        [[math.cos(angle), -math.sin(angle), 0], [math.sin(angle), math.cos(angle), 0], [0, 0, 1]]
    )
    both = draw.log_uniform(0.87, 1.15)
    sizes = torch.diag(
        torch.tensor(
            [
                both * draw.log_uniform(0.93, 1.08),
                both * draw.log_uniform(0.93, 1.08),
                draw.log_uniform(0.85, 1.2),
            ]
        )
    )
    matrix = torch.zeros(3, 4)
    matrix[:, :3] = turn @ sizes
    matrix[0, 2], matrix[1, 2] = draw.normal(0, 0.03), draw.normal(0, 0.05)
    if draw.chance(0.5):
        matrix[0, :3] *= -1  # left for right
    return matrix


def _nudged(form: Tensor, draw: Draw) -> Tensor:
    """Return a form as a further image shows it, after what alignment leaves of motion."""
    result = form.clone()
    result[:, 3] += torch.tensor([draw.normal(0, 0.3), draw.normal(0, 0.3), draw.normal(0, 0.7)])
    return result


def _moved(channels: Tensor, matrix: Tensor) -> Tensor:
    """Sample channels, shape (C, X, Y, Z), anew; 0 beyond their ends."""
    size = torch.tensor(channels.shape[1:]).float()
    half = size * space.SPACING_MM / 2
    theta = matrix.clone()
    theta[:, :3] = matrix[:, :3] * half[None, :] / half[:, None]
    theta[:, 3] = matrix[:, 3] / half
    # torch counts axes from the last to the first.
    theta = torch.cat([theta[:, :3].flip(0).flip(1), theta[:, 3:].flip(0)], dim=1)
    grid = F.affine_grid(theta[None], [1, 1, *channels.shape[1:]], align_corners=False)
    return F.grid_sample(channels[None], grid, align_corners=False)[0]


def _thickened(
    image: NDArray[np.float32], covered: NDArray[np.bool_], slices: Slices, name: str, draw: Draw
) -> tuple[NDArray[np.float32], Slices]:
    """Average an image over thicker slices, in the usual plane of its sequence, and interpolate between them."""
    axis = 2 if name in ("T2starAx", "T2Ax") else 0
    if slices.axis != axis and slices.thickness_mm > 1.5 * slices.pixel_mm:
        axis = slices.axis
    thick = draw.uniform(*THICK_MM.get(axis, (2.0, 4.0)))
    if thick <= slices.thickness_mm + 0.5:
        return image, slices
    count = max(2, round(thick / space.SPACING_MM))
    first = draw.integer(0, count - 1)
    moved = np.moveaxis(np.where(covered, image, 0), axis, -1)
    share = np.moveaxis(covered, axis, -1).astype(np.float32)
    length = moved.shape[-1]
    middles = np.arange(first - count, length + count, count)
    sums, shares = (
        np.concatenate([np.zeros((*a.shape[:-1], 1)), np.cumsum(a, axis=-1)], axis=-1) for a in (moved, share)
    )
    low = np.clip(middles - count // 2, 0, length)
    high = np.clip(middles - count // 2 + count, 0, length)
    means = (sums[..., high] - sums[..., low]) / np.maximum(shares[..., high] - shares[..., low], 1e-3)
    filled = (shares[..., high] - shares[..., low]) > 0
    position = (np.arange(length) + (0 if count % 2 else 0.5) - middles[0]) / count
    left = np.clip(position.astype(int), 0, len(middles) - 2)
    part = position - left
    weights = [(1 - part) * filled[..., left], part * filled[..., left + 1]]
    total = weights[0] * means[..., left] + weights[1] * means[..., left + 1]
    result = np.moveaxis(total / np.maximum(weights[0] + weights[1], 1e-3), -1, axis)
    return np.asarray(result * covered, np.float32), Slices(axis, count * space.SPACING_MM, slices.pixel_mm)


def _scanned(patch: Patch, draw: Draw) -> NDArray[np.float16]:
    """Return the images with a coil's shading and fall-off, and noise on top of what they have."""
    images = patch.images.astype(np.float32)
    for row, covered in enumerate(patch.coverage):
        shape = covered.shape
        knots = draw.gaussian(1, 1, 3, 3, 4)
        field = F.interpolate(knots, size=shape, mode="trilinear", align_corners=True)[0, 0].numpy()
        image = images[row] * np.exp(draw.uniform(0, 0.15) * field)
        if draw.chance(0.2):
            height = np.arange(shape[2]) * space.SPACING_MM
            end, width = draw.uniform(-10, 22), draw.uniform(2, 10)
            low = 1 / (1 + np.exp((height - end) / width))
            image = image * (1 - draw.uniform(0.2, 0.9) * (low if draw.chance(0.75) else low[::-1]))
        if draw.chance(0.5):
            noise = draw.uniform(0.01, 0.08)
            real = image + noise * _smooth(draw.gaussian(*shape))
            image = np.sqrt(real**2 + (noise * _smooth(draw.gaussian(*shape))) ** 2)
        images[row] = image * covered
    return images.astype(np.float16)


def _smooth(noise: Tensor) -> NDArray[np.float32]:
    """Return noise as it is after interpolation to half a millimetre, with a spread of 1."""
    kernel = torch.tensor([0.25, 0.5, 0.25])
    for axis in range(3):
        form = [1, 1, 1, 1, 1]
        form[2 + axis] = 3
        pad = [0, 0, 0]
        pad[axis] = 1
        noise = F.conv3d(noise.reshape(1, 1, *noise.shape[-3:]), kernel.reshape(form), padding=pad)[0, 0]
    return np.asarray((noise / 0.2296).numpy(), np.float32)
