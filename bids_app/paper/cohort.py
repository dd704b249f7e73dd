"""Simulated people with the sequences of the paper's cohorts, made once and kept on disk."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch

from ..cutting import Crop, simulated_crop
from ..processes import process_pool
from ..sequences import SLOTS
from ..simulate.cohorts import Member, walsh2024
from ..simulate.contrast import VISIBILITY
from ..simulate.patches import Patch, make_patch
from ..train.store import read_sample, write_sample

#: Far from the seeds of training samples and of each other.
TRAINING_SEED, TEST_SEED = 20_000_000_000, 21_000_000_000
#: Chance that a sequence shows a lesion: as the simulator's prior says, or about its mean for every sequence.
CHANCES: dict[str, Mapping[str, float]] = {"prior": VISIBILITY, "equal": dict.fromkeys(SLOTS, 0.75)}


@dataclass(frozen=True, eq=False)
class Person:
    """One simulated participant: a piece of cord in the common space, seen by the sequences that the cohort has."""

    cohort: str
    patch: Patch

    @property
    def sequences(self) -> tuple[str, ...]:
        """Sequences, in the table's order."""
        return tuple(SLOTS[slot] for slot in self.patch.slots)

    def crop(self, names: Sequence[str]) -> Crop:
        """Return what the segmenter takes, with some of the sequences."""
        rows = [self.sequences.index(name) for name in names]
        return simulated_crop(self.patch.images[rows], self.patch.coverage[rows], self.patch.cord, names)


def training_members() -> list[Member]:
    """Return the 247 participants that are learned from."""
    return walsh2024()


def test_members() -> list[Member]:
    """Return other participants with the compositions of the cohorts that are tested on: A and C."""
    return [member for member in walsh2024() if member.cohort in ("A", "C")]


def people(
    root: Path, purpose: str, members: Sequence[Member], seed: int, visibility: str, length: int, workers: int
) -> list[Person]:
    """Return simulated people; those that lie in a folder of ``root`` are read, the others are made and put there.

    The folder's name says how many they are and how long, so that people of other plans are not taken for them.
    """
    folder = root / f"{purpose}-{len(members)}-{length}"
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{number:04d}.safetensors" for number in range(len(members))]
    missing = [number for number, path in enumerate(paths) if not path.exists()]
    jobs = [(paths[number], members[number], seed + number) for number in missing]
    if missing:
        with process_pool(workers) as pool:
            list(pool.map(partial(_make, visibility=visibility, length=length), jobs, chunksize=2))
    return [Person(member.cohort, read_sample(path)) for path, member in zip(paths, members, strict=True)]


def _make(job: tuple[Path, Member, int], visibility: str, length: int) -> None:
    torch.set_num_threads(1)
    path, member, seed = job
    presence = {name: float(name in member.sequences) for name in SLOTS}
    patch = make_patch(seed, length, len(SLOTS), presence=presence, visibility=CHANCES[visibility])
    write_sample(path, patch)
