"""A ring of samples on disk: one process makes them, another learns from them.

Making a sample costs about as much as two or three visits of the network. So samples are kept and each is used several
times, with other sequences dropped and other mirrors; the oldest are replaced all the time. The ring outlives a run: the next one
learns from what is there at once.
"""

from __future__ import annotations

import multiprocessing
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ..errors import EnvironmentFault, MscordError, UsageError
from ..simulate.draw import Draw
from ..simulate.patches import Patch
from .store import read_sample, write_sample

#: Learning begins with so many samples.
ENOUGH = 200
#: Seeds of different runs are this far apart.
SEEDS = 10_000_019


@dataclass(frozen=True)
class Ring:
    """The folder, and how many samples it holds at most.

    Attributes
    ----------
    folder : Path
        Sample number n lies in ``<n modulo size>.safetensors``; ``next`` holds the number of the next one.
    size : int
    seed : int
    kind : str
        What the samples are of: a ring of another kind is not learned from.
    """

    folder: Path
    size: int
    seed: int
    kind: str = ""

    def open(self) -> None:
        """Make the folder, or see that it is a ring of this kind.

        Raises
        ------
        UsageError
            It holds samples of another kind.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        note = self.folder / "kind"
        if not note.exists():
            note.write_text(self.kind)
        elif note.read_text() != self.kind:
            raise UsageError(
                f"{self.folder} holds samples for {note.read_text()}, not for {self.kind}.",
                "Name another folder with --ring.",
            )

    def made(self) -> int:
        """Return how many samples have been made so far, those that were replaced included."""
        try:
            return int((self.folder / "next").read_text())
        except (OSError, ValueError):
            return 0

    def held(self) -> int:
        """Return how many samples there are."""
        return min(self.made(), self.size)

    def put(self, make: Callable[[int], Patch]) -> None:
        """Make the next sample."""
        number = self.made()
        write_sample(self._path(number), make(self.seed * SEEDS + number))
        part = self.folder / f".next.{os.getpid()}"
        part.write_text(str(number + 1))
        part.replace(self.folder / "next")

    def take(self, draw: Draw, count: int) -> list[Patch]:
        """Return samples at random."""
        held = self.held()
        return [read_sample(self._path(draw.integer(0, held - 1))) for _ in range(count)]

    def _path(self, number: int) -> Path:
        return self.folder / f"{number % self.size:06d}.safetensors"


@contextmanager
def filled(ring: Ring, make: Callable[[int], Patch], enough: int = ENOUGH) -> Iterator[None]:
    """Fill a ring in a process of its own for as long as the context lasts; it begins with ``enough`` samples in the ring.

    Raises
    ------
    UsageError
        The ring is of another kind.
    EnvironmentFault
        The process ended before.
    """
    ring.open()
    context = multiprocessing.get_context("spawn")
    process = context.Process(target=_fill, args=(ring, make), daemon=True)
    process.start()
    try:
        while ring.held() < min(enough, ring.size):
            if not process.is_alive():
                raise EnvironmentFault(f"No samples could be made in {ring.folder}: see above.")
            time.sleep(0.2)
        yield
    finally:
        process.terminate()
        process.join()


def _fill(ring: Ring, make: Callable[[int], Patch]) -> None:
    import torch

    torch.set_num_threads(1)
    parent = os.getppid()
    try:
        # A learner that was killed takes its helper along.
        while os.getppid() == parent:
            ring.put(make)
    except MscordError as error:
        raise SystemExit(str(error)) from error
