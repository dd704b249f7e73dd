"""The app from end to end: start-up, one participant with two sequences, and the same again."""

from __future__ import annotations

import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from .measure import Line

#: Of the simulated participant.
SEED = 5
#: Steps of a run as they follow each other.
STEPS = ("discover", "load", "cord", "align", "crop", "segment", "write", "report")


@dataclass(frozen=True)
class Ran:
    """What a call of the program took: wall and CPU seconds."""

    wall: float
    cpu: float


def lines(rounds: int, out: Path) -> Iterator[Line]:
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
        draw_steps(steps_of(folder / "out-0"), first[0].wall, out / "steps.svg")
    yield Line(
        "one participant with two sequences", statistics.median(ran.wall for ran in first), "s", 15, at_most=True,
        detail=f"{statistics.median(ran.cpu for ran in first):.1f} CPU-s",
    )  # fmt: skip
    yield Line(
        "the same again, finished already", statistics.median(ran.wall for ran in again), "s", 4, at_most=True,
        detail=f"{statistics.median(ran.cpu for ran in again):.1f} CPU-s",
    )  # fmt: skip


def steps_of(out: Path) -> dict[str, float]:
    """Return the seconds of each step of the first run into a folder, in the order of the rooms."""
    manifest = min((out / "logs").glob("run-*_manifest.json"))
    record = json.loads(manifest.read_text(encoding="utf-8"))
    found: Counter[str] = Counter(record["StepSeconds"])
    for unit in record["Units"]:
        found.update(unit["Seconds"])
    return {name: found[name] for name in STEPS}


def draw_steps(steps: Mapping[str, float], wall: float, path: Path) -> None:
    """Draw where the time of one participant goes."""
    from matplotlib.figure import Figure

    shown = {**steps, "start, and all else": wall - sum(steps.values())}
    figure = Figure(figsize=(7, 3.2), layout="constrained")
    axes = figure.add_subplot()
    bars = axes.barh(list(shown), list(shown.values()), color="tab:blue")
    axes.bar_label(bars, [f"{value:.1f} s" for value in shown.values()], padding=3)
    axes.set_xlim(0, 1.15 * max(shown.values()))
    axes.invert_yaxis()
    axes.set_xlabel(f"seconds of {wall:.1f} in all, one participant with two sequences")
    figure.savefig(path)


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
