"""``python -m bids_app.benchmark OUT``: what the app costs beside its targets, as a table (``benchmark.tsv``) and a picture.

Every comparison comes from one run, the sides in turn, each round in a process of its own with one thread. CPU seconds hardly
depend on what else the machine does; wall times do.
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from ..files import write_text
from . import app, gpu, indexing, network, runtime, scale
from .measure import Line

PARTS: dict[str, Callable[[int, Path], Iterator[Line]]] = {
    "network": network.lines,
    "runtime": runtime.lines,
    "gpu": gpu.lines,
    "indexing": indexing.lines,
    "app": app.lines,
    "scale": scale.lines,
}
HEADINGS = ("what", "figure", "target", "reached", "detail")


def main(argv: list[str] | None = None) -> int:
    """Print the lines as they come, and write the table and the picture."""
    parser = argparse.ArgumentParser(prog="python -m bids_app.benchmark", description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS))
    options = parser.parse_args(argv)
    os.environ["OMP_NUM_THREADS"] = "1"
    load = os.getloadavg()[0]
    sys.stdout.write(
        f"{processor()}, {os.cpu_count()} cores, Python {platform.python_version()}, load {load:.1f}\n"
    )
    sys.stdout.write("\t".join(HEADINGS) + "\n")
    options.out.mkdir(parents=True, exist_ok=True)
    lines: list[Line] = []
    for part in options.only:
        for line in PARTS[part](options.rounds, options.out):
            lines.append(line)
            sys.stdout.write("\t".join(line.cells()) + "\n")
            sys.stdout.flush()
    rows = [HEADINGS, *(line.cells() for line in lines)]
    write_text(options.out / "benchmark.tsv", "\n".join("\t".join(row) for row in rows) + "\n")
    draw(lines, options.out / "benchmark.svg")
    return 0


def processor() -> str:
    """Return the processor's name."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
        return next(
            line.split(":", 1)[1].strip() for line in text.splitlines() if line.startswith("model name")
        )
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def draw(lines: list[Line], path: Path) -> None:
    """Draw how far each figure is from its target: bars to the right of 1 reach it."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 0.45 * len(lines) + 1), layout="constrained")
    axes = figure.add_subplot()
    margins = [line.margin for line in lines]
    axes.barh(range(len(lines)), margins, color=["tab:blue" if line.met else "tab:orange" for line in lines])
    axes.set_yticks(range(len(lines)), [line.name for line in lines])
    axes.invert_yaxis()
    axes.axvline(1, color="black", linewidth=1)
    axes.set_xlabel("times better than the target (blue: reached)")
    figure.savefig(path)


if __name__ == "__main__":
    sys.exit(main())
