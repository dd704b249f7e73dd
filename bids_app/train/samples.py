"""From simulated patches to batches: sequence dropout, mirrors, and a pool that reuses patches."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ..model.network import Batch
from ..sequences import SLOTS
from ..simulate.draw import Draw
from ..simulate.patches import Patch

T2SAG = SLOTS.index("T2Sag")
#: With T2Sag and others there: chance to keep T2Sag alone, and else to keep a random subset.
ALONE, SUBSET = 0.45, 0.4


@dataclass(frozen=True, eq=False)
class Example:
    """A batch with its targets, shape (B, outputs, X, Y, Z), and where they count, shape (B, 1, X, Y, Z)."""

    batch: Batch
    target: Tensor
    seen: Tensor


def kept_rows(slots: tuple[int, ...], draw: Draw) -> list[int]:
    """Choose the sequences that a sample shows: sequence dropout that always keeps one and often leaves T2Sag alone."""
    rows = list(range(len(slots)))
    if len(rows) == 1:
        return rows
    if T2SAG in slots and draw.chance(ALONE):
        return [slots.index(T2SAG)]
    if draw.chance(SUBSET):
        count = draw.integer(1, len(rows) - 1)
        while len(rows) > count:
            rows.pop(draw.integer(0, len(rows) - 1))
    return rows


def lesion_example(patches: list[Patch], draw: Draw, visible_only: bool = False) -> Example:
    """Batch for the lesion model: targets are lesion and cord.

    The label is a lesion that any acquired sequence shows, also where sequence dropout hides that sequence: so
    one sequence learns from the others. ``visible_only`` keeps what the shown sequences show: an easier start.
    """
    rows = [kept_rows(patch.slots, draw) for patch in patches]
    targets = []
    for patch, kept in zip(patches, rows, strict=True):
        lesion = patch.visible[kept].any(axis=0) if visible_only else patch.lesion
        targets.append(np.stack([lesion.astype(np.float32), patch.cord.astype(np.float32)]))
    return _collate(patches, rows, targets, draw, shared_slot=False)


def cord_example(patches: list[Patch], draw: Draw, visible_only: bool = False) -> Example:
    """Batch for a cord model: one image of each patch, whatever its sequence; the target is the cord.

    ``visible_only`` changes nothing: every sequence shows the cord.
    """
    del visible_only
    rows = [[draw.integer(0, len(patch.slots) - 1)] for patch in patches]
    targets = [patch.cord.astype(np.float32)[None] for patch in patches]
    return _collate(patches, rows, targets, draw, shared_slot=True)


def _collate(
    patches: list[Patch], rows: list[list[int]], targets: list[np.ndarray], draw: Draw, shared_slot: bool
) -> Example:
    images, coverage, slot, owner, target = [], [], [], [], []
    for number, (patch, kept) in enumerate(zip(patches, rows, strict=True)):
        mirror = [axis for axis in (0, 1, 2) if draw.chance(0.5 if axis != 1 else 0.0)]
        for row in kept:
            images.append(_flip(patch.images[row].astype(np.float32), mirror))
            coverage.append(_flip(patch.coverage[row].astype(np.float32), mirror))
            slot.append(0 if shared_slot else patch.slots[row])
            owner.append(number)
        target.append(np.stack([_flip(channel, mirror) for channel in targets[number]]))
    cover = torch.from_numpy(np.stack(coverage))[:, None]
    seen = torch.zeros((len(patches), *cover.shape[1:]))
    for row, number in enumerate(owner):
        seen[number] = torch.maximum(seen[number], cover[row])
    batch = Batch(torch.from_numpy(np.stack(images))[:, None], cover, tuple(slot), tuple(owner), len(patches))
    return Example(batch, torch.from_numpy(np.stack(target)), seen)


def _flip(array: np.ndarray, axes: list[int]) -> np.ndarray:
    return np.ascontiguousarray(np.flip(array, tuple(axes))) if axes else array


class Pool:
    """A sliding window over an endless row of patches: what a step sees depends on its number alone.

    Making a patch costs about as much as learning from it, so each is used several times,
    with other sequences dropped and other mirrors.

    Parameters
    ----------
    make : callable
        Patch from a seed.
    seed : int
    width : int
        Patches in the window.
    per_step : float
        New patches per step.
    """

    def __init__(self, make: Callable[[int], Patch], seed: int, width: int, per_step: float) -> None:
        self.make, self.seed, self.width, self.per_step = make, seed, width, per_step
        self.patches: dict[int, Patch] = {}

    def take(self, step: int, count: int) -> tuple[list[Patch], Draw]:
        """Return the patches of a step and the source of its further draws."""
        draw = Draw(self.seed * 1_000_003 + step)
        newest = int(step * self.per_step) + count
        # The window is narrow at the start, so that training begins at once.
        oldest = max(0, newest - self.width)
        chosen = [newest - 1 - n for n in range(max(1, int(self.per_step)))]
        chosen += [draw.integer(oldest, newest - 1) for _ in range(count - len(chosen))]
        for key in [key for key in self.patches if key < oldest]:
            del self.patches[key]
        for key in chosen:
            if key not in self.patches:
                self.patches[key] = self.make(self.seed * 10_000_019 + key)
        return [self.patches[key] for key in chosen[:count]], draw
