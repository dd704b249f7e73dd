"""From patches to batches: intensities, sequence dropout, mirrors, targets and where they count."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from .. import space
from ..model.network import Batch
from ..simulate.draw import Draw
from ..simulate.patches import Patch

Mask = NDArray[np.bool_]
#: Chooses the rows (images) that a sample shows, given their slots.
Keep = Callable[[tuple[int, ...], Draw], list[int]]


@dataclass(frozen=True, eq=False)
class Example:
    """A batch, its targets, and how much each of them counts, both of shape (B, outputs, X, Y, Z)."""

    batch: Batch
    target: Tensor
    weight: Tensor

    def to(self, device: torch.device) -> Example:
        """Return the example on a device."""
        batch = replace(
            self.batch, images=self.batch.images.to(device), coverage=self.batch.coverage.to(device)
        )
        return Example(batch, self.target.to(device), self.weight.to(device))


@dataclass(frozen=True, eq=False)
class _Sample:
    """One patch as the network sees it: rows of images, their slots, and targets (outputs, X, Y, Z), NaN where unknown."""

    images: list[NDArray[np.float32]]
    coverage: list[Mask]
    slots: list[int]
    target: NDArray[np.float32]


def lesion_example(
    patches: Sequence[Patch],
    draw: Draw,
    keep: Keep,
    visible_only: bool = False,
    intensity: str = "cord",
    spacing_mm: float = space.SPACING_MM,
) -> Example:
    """Batch for the lesion model: targets are lesion, cord and grey matter.

    The label is a lesion that any acquired sequence shows, also where sequence dropout hides that sequence: so
    one sequence learns from the others. ``visible_only`` keeps what the shown sequences show: an easier start.
    Lesions count near the cord, where the app looks for them; grey matter within it, where it is known.

    Parameters
    ----------
    intensity : str
        That of the network.
    spacing_mm : float
        Of the patches along the cord.
    """
    samples = []
    for patch in patches:
        kept, images = _showing(patch, keep, draw, intensity)
        lesion = np.asarray(patch.visible[kept].any(axis=0)) if visible_only else patch.lesion
        shift = (draw.integer(-2, 2), draw.integer(-2, 2))
        part = space.around_cord(patch.cord.astype(np.float32), shift)
        grey = np.full(patch.cord.shape, np.nan, np.float16) if patch.grey is None else patch.grey
        samples.append(
            _Sample(
                [image[part] for image in images],
                [patch.coverage[row][part] for row in kept],
                [patch.slots[row] for row in kept],
                np.stack([lesion[part], patch.cord[part], grey[part]]).astype(np.float32),
            )
        )
    batch, target = _collate(samples, draw)
    seen, cord = _seen(batch), target[:, 1:2]
    known = torch.isfinite(target[:, 2:])
    weight = torch.cat([seen * near_cord(cord, spacing_mm), seen, seen * known * (cord > 0.5)], dim=1)
    return Example(batch, target.nan_to_num(0), weight)


def near_cord(cord: Tensor, spacing_mm: float) -> Tensor:
    """Return a box of 2 mm around the cord, a little more than where the app looks for lesions, shape (B, 1, X, Y, Z)."""
    near = (cord >= 0.3).float()
    for axis, spacing in enumerate((space.SPACING_MM, space.SPACING_MM, spacing_mm)):
        size, reach = [1, 1, 1], [0, 0, 0]
        reach[axis] = round(space.CORD_MARGIN_MM / spacing)
        size[axis] = 2 * reach[axis] + 1
        near = F.max_pool3d(near, size, stride=1, padding=reach)
    return near


def cord_example(patches: Sequence[Patch], draw: Draw, keep: Keep, visible_only: bool = False) -> Example:
    """Batch for a cord model: one image of each patch, whatever its sequence; z-scores; the target is the cord.

    ``keep`` and ``visible_only`` change nothing: every sequence shows the cord.
    """
    del keep, visible_only
    samples = []
    for patch in patches:
        row = draw.integer(0, len(patch.slots) - 1)
        image = space.normalise(patch.images[row].astype(np.float32), patch.coverage[row])
        samples.append(_Sample([image], [patch.coverage[row]], [0], patch.cord.astype(np.float32)[None]))
    batch, target = _collate(samples, draw)
    return Example(batch, target, _seen(batch))


def _showing(
    patch: Patch, keep: Keep, draw: Draw, intensity: str
) -> tuple[list[int], list[NDArray[np.float32]]]:
    """Return the rows that a sample shows and their images; a row that shows too little of the cord is out of question.

    Where nothing is left, the first row is shown, empty.
    """
    cord = _found_cord(patch.cord.astype(np.float32), draw)
    shown = [
        space.intensities(intensity, image.astype(np.float32), covered, cord)
        for image, covered in zip(patch.images, patch.coverage, strict=True)
    ]
    usable = [row for row, image in enumerate(shown) if image is not None]
    kept = [usable[n] for n in keep(tuple(patch.slots[row] for row in usable), draw)] if usable else []
    if not kept:
        return [0], [np.zeros(patch.cord.shape, np.float32)]
    return kept, [image for image in (shown[row] for row in kept) if image is not None]


def _found_cord(cord: NDArray[np.float32], draw: Draw) -> NDArray[np.float32]:
    """Return the cord as a localiser might have found it: shifted by up to a voxel, a little too wide or too narrow."""
    shifted = np.roll(cord, (draw.integer(-1, 1), draw.integer(-1, 1)), axis=(0, 1))
    return np.asarray(shifted + draw.uniform(-0.3, 0.3), np.float32)


def _collate(samples: Sequence[_Sample], draw: Draw) -> tuple[Batch, Tensor]:
    """Return the batch and its targets, shape (B, outputs, X, Y, Z)."""
    images, coverage, slot, owner, target = [], [], [], [], []
    for number, sample in enumerate(samples):
        # Cords are alike from left and right, and lesions are from above and below; front and back differ.
        mirror = tuple(axis for axis in (0, 2) if draw.chance(0.5))
        images += [_flip(image, mirror) for image in sample.images]
        coverage += [_flip(covered.astype(np.float32), mirror) for covered in sample.coverage]
        slot += sample.slots
        owner += [number] * len(sample.slots)
        target.append(_flip(sample.target, tuple(axis + 1 for axis in mirror)))
    cover = torch.from_numpy(np.stack(coverage))[:, None]
    batch = Batch(torch.from_numpy(np.stack(images))[:, None], cover, tuple(slot), tuple(owner), len(samples))
    return batch, torch.from_numpy(np.stack(target))


def _seen(batch: Batch) -> Tensor:
    """Return where any sequence has data, shape (B, 1, X, Y, Z)."""
    seen = torch.zeros((batch.size, *batch.coverage.shape[1:]))
    for row, number in enumerate(batch.owner):
        seen[number] = torch.maximum(seen[number], batch.coverage[row])
    return seen


def _flip(array: NDArray[np.float32], axes: tuple[int, ...]) -> NDArray[np.float32]:
    return np.ascontiguousarray(np.flip(array, axes)) if axes else array
