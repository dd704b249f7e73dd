"""Time and memory of one thing beside another: alternately, each in a process of its own."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from ..processes import process_pool

#: A margin without bounds is drawn as this.
MOST = 100.0
Job = Callable[[], Callable[[], object]]
"""Prepares something, and returns what is to be timed. Both must be picklable: a function of a module, or a partial of one."""


@dataclass(frozen=True)
class Cost:
    """What the rounds of one job cost: CPU seconds of each, and the highest peak of a process's memory, GiB."""

    rounds: tuple[float, ...]
    peak_gb: float

    @property
    def seconds(self) -> float:
        """Median over the rounds."""
        return statistics.median(self.rounds)


@dataclass(frozen=True)
class Line:
    """One line of the report: a figure, and the target that it is held against.

    Attributes
    ----------
    name : str
    value : float
    unit : str
        ``x`` for a ratio.
    target : float
    at_most : bool
        Whether the figure should stay below the target, rather than reach it.
    detail : str
    """

    name: str
    value: float
    unit: str
    target: float
    at_most: bool = False
    detail: str = ""

    @property
    def met(self) -> bool:
        """Whether the target is met."""
        return self.value <= self.target if self.at_most else self.value >= self.target

    @property
    def margin(self) -> float:
        """How many times better than the target the figure is; below 1 it is missed."""
        if not self.at_most:
            return self.value / self.target
        return min(MOST, self.target / self.value) if self.value else MOST

    def cells(self) -> list[str]:
        """Return the line for a table."""
        bound = f"{'at most' if self.at_most else 'at least'} {self.target:g} {self.unit}"
        return [
            self.name,
            f"{self.value:.3g} {self.unit}",
            bound,
            "met" if self.met else "NOT met",
            self.detail,
        ]


def alternate(jobs: Mapping[str, Job], rounds: int) -> dict[str, Cost]:
    """Run jobs in turn, A B A B, and return what each cost. One thread each; the first call within a process is not counted."""
    seconds: dict[str, list[float]] = {name: [] for name in jobs}
    peaks = dict.fromkeys(jobs, 0.0)
    for _ in range(rounds):
        for name, job in jobs.items():
            with process_pool(1) as pool:
                spent, peak = pool.submit(_timed, job).result()
            seconds[name].append(spent)
            peaks[name] = max(peaks[name], peak)
    return {name: Cost(tuple(seconds[name]), peaks[name]) for name in jobs}


def _timed(job: Job) -> tuple[float, float]:
    """Return CPU seconds of the second call, and the peak memory of the process in GiB."""
    work = job()
    work()
    began = time.process_time()
    work()
    spent = time.process_time() - began
    return spent, peak_memory_gb()


def peak_memory_gb() -> float:
    """Return the most memory that this process has held, GiB; what its parent held before it does not count, as in getrusage."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return float(next(line.split()[1] for line in lines if line.startswith("VmHWM:"))) / 2**20
