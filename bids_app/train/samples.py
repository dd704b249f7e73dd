"""From patches to batches: intensities, sequence dropout, mirrors, and a pool that reuses patches."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, Future
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from .. import space
from ..files import write_bytes
from ..model.network import Batch
from ..simulate.draw import Draw
from ..simulate.patches import Patch

Mask = NDArray[np.bool_]
#: Chooses the rows (images) that a sample shows, given their slots.
Keep = Callable[[tuple[int, ...], Draw], list[int]]


@dataclass(frozen=True, eq=False)
class Example:
    """A batch with its targets, shape (B, outputs, X, Y, Z), and where they count, shape (B, 1, X, Y, Z)."""

    batch: Batch
    target: Tensor
    seen: Tensor

    def to(self, device: torch.device) -> Example:
        """Return the example on a device."""
        batch = replace(
            self.batch, images=self.batch.images.to(device), coverage=self.batch.coverage.to(device)
        )
        return Example(batch, self.target.to(device), self.seen.to(device))


@dataclass(frozen=True, eq=False)
class _Sample:
    """One patch as the network sees it: rows of images, their slots, and targets (outputs, X, Y, Z)."""

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
) -> Example:
    """Batch for the lesion model: targets are lesion and cord.

    The label is a lesion that any acquired sequence shows, also where sequence dropout hides that sequence: so
    one sequence learns from the others. ``visible_only`` keeps what the shown sequences show: an easier start.
    ``intensity`` is that of the network.
    """
    samples = []
    for patch in patches:
        kept, images = _showing(patch, keep, draw, intensity)
        lesion = np.asarray(patch.visible[kept].any(axis=0)) if visible_only else patch.lesion
        shift = (draw.integer(-2, 2), draw.integer(-2, 2))
        part = space.around_cord(patch.cord.astype(np.float32), shift)
        samples.append(
            _Sample(
                [image[part] for image in images],
                [patch.coverage[row][part] for row in kept],
                [patch.slots[row] for row in kept],
                np.stack([lesion[part], patch.cord[part]]).astype(np.float32),
            )
        )
    return _collate(samples, draw)


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
    return _collate(samples, draw)


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


def _collate(samples: Sequence[_Sample], draw: Draw) -> Example:
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
    seen = torch.zeros((len(samples), *cover.shape[1:]))
    for row, number in enumerate(owner):
        seen[number] = torch.maximum(seen[number], cover[row])
    batch = Batch(torch.from_numpy(np.stack(images))[:, None], cover, tuple(slot), tuple(owner), len(samples))
    return Example(batch, torch.from_numpy(np.stack(target)), seen)


def _flip(array: NDArray[np.float32], axes: tuple[int, ...]) -> NDArray[np.float32]:
    return np.ascontiguousarray(np.flip(array, axes)) if axes else array


@dataclass(frozen=True)
class Kept:
    """Makes patches as ``make`` does, and keeps them in a folder: runs that learn from the same ones simulate them once."""

    make: Callable[[int], Patch]
    folder: Path

    def __call__(self, seed: int) -> Patch:
        """Read or make one."""
        path = self.folder / f"{seed}.npz"
        if path.exists():
            return read_patch(path)
        patch = self.make(seed)
        write_patch(path, patch)
        return patch


def write_patch(path: Path, patch: Patch) -> None:
    """Write a patch, compressed and atomically.

    Raises
    ------
    EnvironmentFault
        The file cannot be written.
    """
    stream = io.BytesIO()
    np.savez_compressed(
        stream, images=patch.images, coverage=patch.coverage, slots=patch.slots, visible=patch.visible, cord=patch.cord
    )  # fmt: skip
    write_bytes(path, stream.getvalue())


def read_patch(path: Path) -> Patch:
    """Read what `write_patch` wrote."""
    with np.load(path) as arrays:
        slots = tuple(int(slot) for slot in arrays["slots"])
        return Patch(arrays["images"], arrays["coverage"], slots, arrays["visible"], arrays["cord"])


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
    executor : Executor, optional
        Makes patches ahead of time; ``make`` must be picklable. By default they are made when they are needed.
    """

    #: Steps whose new patches are made ahead.
    AHEAD = 24

    def __init__(
        self,
        make: Callable[[int], Patch],
        seed: int,
        width: int,
        per_step: float,
        executor: Executor | None = None,
    ) -> None:
        self.make, self.seed, self.width, self.per_step, self.executor = make, seed, width, per_step, executor
        self.patches: dict[int, Patch | Future[Patch]] = {}

    def take(self, step: int, count: int) -> tuple[list[Patch], Draw]:
        """Return the patches of a step and the source of its further draws."""
        draw = Draw(self.seed * 1_000_003 + step)
        newest = int(step * self.per_step) + count
        # The window is narrow at the start, so that training begins at once.
        oldest = max(0, newest - self.width)
        chosen = [newest - 1 - n for n in range(min(count, max(1, int(self.per_step))))]
        chosen += [draw.integer(oldest, newest - 1) for _ in range(count - len(chosen))]
        for key in [key for key in self.patches if key < oldest]:
            del self.patches[key]
        if self.executor:
            self._order(chosen)
            self._order(range(newest, newest + int(self.AHEAD * self.per_step)))
        return [self._get(key) for key in chosen], draw

    def _order(self, keys: Sequence[int]) -> None:
        for key in keys:
            if key not in self.patches and self.executor:
                self.patches[key] = self.executor.submit(self.make, self._seed_of(key))

    def _get(self, key: int) -> Patch:
        patch = self.patches.get(key)
        if patch is None:
            patch = self.make(self._seed_of(key))
        elif isinstance(patch, Future):
            patch = patch.result()
        self.patches[key] = patch
        return patch

    def _seed_of(self, key: int) -> int:
        return self.seed * 10_000_019 + key
