"""The app from end to end: start-up, one participant with two sequences, and the same again."""

from __future__ import annotations

import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from .measure import Line

#: Of the simulated participant.
SEED = 5


@dataclass(frozen=True)
class Ran:
    """What a call of the program took: wall and CPU seconds."""

    wall: float
    cpu: float


def lines(rounds: int) -> Iterator[Line]:
    """Yield what calls of the program cost."""
    helped = [call(["--help"]) for _ in range(max(3, rounds))]
    yield Line(
        "mscord --help", statistics.median(ran.cpu for ran in helped), "CPU-s", 0.15, at_most=True,
        detail=", ".join(f"{ran.cpu:.3f}" for ran in helped),
    )  # fmt: skip
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_participant(folder / "bids")
        arguments = [str(folder / "bids"), "", "participant", "--cord", "builtin", "--device", "cpu"]
        first, again = [], []
        for number in range(rounds):
            arguments[1] = str(folder / f"out-{number}")
            work = ["--work-dir", str(folder / f"work-{number}")]
            first.append(call([*arguments, *work]))
            again.append(call([*arguments, *work]))
    yield Line(
        "one participant with two sequences", statistics.median(ran.wall for ran in first), "s", 15, at_most=True,
        detail=f"{statistics.median(ran.cpu for ran in first):.1f} CPU-s",
    )  # fmt: skip
    yield Line(
        "the same again, all preprocessing kept", statistics.median(ran.wall for ran in again), "s", 4, at_most=True,
        detail=f"{statistics.median(ran.cpu for ran in again):.1f} CPU-s",
    )  # fmt: skip


def make_participant(root: Path) -> None:
    """Simulate one participant with two sequences."""
    import torch

    from ..simulate.dataset import start_dataset, write_participant

    start_dataset(root)
    write_participant(root, "01", SEED, ("T2Sag", "T2starAx"), torch.device("cpu"))


def call(arguments: list[str]) -> Ran:
    """Run the program."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    began = time.perf_counter()
    ended = subprocess.run(
        [sys.executable, "-m", "bids_app", *arguments], capture_output=True, text=True, check=False
    )
    wall = time.perf_counter() - began
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if ended.returncode:
        raise RuntimeError(
            f"mscord {' '.join(arguments)} ended with {ended.returncode}: {ended.stderr[-500:]}"
        )
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Ran(wall, cpu)
