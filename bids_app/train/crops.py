"""Prepared datasets: a folder of crops that needs only numpy and torch to be read."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from ..errors import NothingToDoError, UsageError
from ..sequences import SLOTS
from ..simulate.draw import Draw
from ..simulate.implant import Slices
from ..simulate.patches import PATCH_LENGTH, Patch
from .backgrounds import background


@dataclass(frozen=True, eq=False)
class Crop:
    """One unit of a prepared dataset.

    Attributes
    ----------
    participant : str
    whole : Patch
        The whole length of the cord; images relative to the cord's median.
    slices : tuple of Slices
        One for each image.
    """

    participant: str
    whole: Patch
    slices: tuple[Slices, ...]

    @property
    def length(self) -> int:
        """Slices along the cord."""
        return int(self.whole.cord.shape[2])

    def window(self, start: int) -> tuple[Patch, tuple[Slices, ...]]:
        """Return `PATCH_LENGTH` slices from ``start`` on, and how its images were sliced; beyond the ends nothing is covered."""
        stop = min(start + PATCH_LENGTH, self.length)
        extra = PATCH_LENGTH - (stop - start)

        def cut(array: np.ndarray) -> np.ndarray:
            part = array[..., start:stop]
            return np.pad(part, [(0, 0)] * (part.ndim - 1) + [(0, extra)])

        one = self.whole
        covered = cut(one.coverage)
        rows = [row for row in range(len(one.slots)) if covered[row].any()] or [0]
        patch = Patch(
            cut(one.images)[rows],
            covered[rows],
            tuple(one.slots[row] for row in rows),
            cut(one.visible)[rows],
            cut(one.cord),
        )
        return patch, tuple(self.slices[row] for row in rows) if self.slices else ()

    def windows(self) -> list[Patch]:
        """Return windows side by side over the whole length, but for those without any cord."""
        starts = range(0, max(1, self.length - PATCH_LENGTH // 2), PATCH_LENGTH)
        found = [self.window(start)[0] for start in starts]
        return [patch for patch in found if (patch.cord >= 0.5).any()]


@dataclass(frozen=True, eq=False)
class CropSource:
    """Makes samples from prepared crops and from the simulator.

    Half of the samples from crops lie on a lesion, as far as there are any; cords without any lesion become backgrounds, see
    `backgrounds.background`.

    Attributes
    ----------
    crops : tuple of Crop
    simulate : callable
        Patch from a seed.
    simulated : float
        Share of simulated samples.
    anywhere : bool
        Whether the other half of the samples may lie anywhere along a cord. Else those of a cord with lesions lie on one, too.
    """

    crops: tuple[Crop, ...]
    simulate: Callable[[int], Patch]
    simulated: float
    anywhere: bool = True

    @cached_property
    def ill(self) -> tuple[Crop, ...]:
        """Crops with lesions."""
        return tuple(crop for crop in self.crops if crop.whole.lesion.any())

    def __call__(self, seed: int) -> Patch:
        """Make one sample."""
        draw = Draw(seed)
        if draw.chance(self.simulated):
            return self.simulate(seed)
        aimed = bool(self.ill) and draw.chance(0.5)
        crop = _one_of(self.ill if aimed else self.crops, draw)
        sick = crop.whole.lesion.any(axis=(0, 1))
        on_lesion = sick.any() and (aimed or not self.anywhere)
        slices = np.flatnonzero(sick if on_lesion else (crop.whole.cord >= 0.5).any(axis=(0, 1)))
        middle = int(slices[draw.integer(0, len(slices) - 1)]) if len(slices) else crop.length // 2
        start = middle - draw.integer(0, PATCH_LENGTH - 1)
        patch, sliced = crop.window(min(max(0, start), max(0, crop.length - PATCH_LENGTH)))
        return patch if sick.any() or not sliced else background(patch, sliced, draw)


def _one_of(crops: Sequence[Crop], draw: Draw) -> Crop:
    """Choose a crop, a long one more often than a short one."""
    ends = np.cumsum([crop.length for crop in crops])
    return crops[int(np.searchsorted(ends, draw.integer(0, int(ends[-1]) - 1), side="right"))]


def read_crops(folder: Path) -> list[Crop]:
    """Read a prepared dataset.

    Raises
    ------
    NothingToDoError
        There is none.
    """
    # What a dot begins is being written.
    paths = sorted(folder.glob("[!.]*.npz"))
    if not paths:
        raise NothingToDoError(f"There are no prepared crops in {folder}.", "Make them with --bids.")
    return [_read(path) for path in paths]


def _read(path: Path) -> Crop:
    note = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
    with np.load(path) as arrays:
        images, coverage = arrays["images"], arrays["coverage"]
        lesion, cord = arrays["lesion"], arrays["cord"]
    visible = np.stack([lesion & covered for covered in coverage])
    slots = tuple(SLOTS.index(name) for name in note["sequences"])
    patch = Patch(images, coverage, slots, visible, cord)
    return Crop(note["participant"], patch, tuple(Slices(*entry) for entry in note["slices"]))


def split(crops: Sequence[Crop], share: float, seed: int) -> tuple[list[Crop], list[Crop]]:
    """Split by participant into crops to learn from and crops held back; nobody is on both sides.

    Raises
    ------
    UsageError
        There are too few participants for a split.
    """
    people = sorted({crop.participant for crop in crops})
    if share <= 0:
        return list(crops), []
    if len(people) < 2:
        raise UsageError(
            "One participant cannot be split into training and validation.",
            "Give more, or set --validation-share 0.",
        )
    order = np.random.default_rng(seed).permutation(len(people))
    count = min(len(people) - 1, max(1, round(share * len(people))))
    held = {people[n] for n in order[:count]}
    return (
        [crop for crop in crops if crop.participant not in held],
        [crop for crop in crops if crop.participant in held],
    )
