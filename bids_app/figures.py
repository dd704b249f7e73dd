"""What a run costs: ``python -m bids_app.figures DATA OUT`` runs the app on a BIDS folder and prints time and memory."""

from __future__ import annotations

import argparse
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path


def main(argv: list[str] | None = None) -> int:
    """Run and print."""
    parser = argparse.ArgumentParser(prog="python -m bids_app.figures", description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    options = parser.parse_args(argv)
    say(cost(options.data, options.out))
    return 0


def say(lines: Iterable[str]) -> None:
    """Print lines as they come."""
    for line in lines:
        sys.stdout.write(line + "\n")
        sys.stdout.flush()


def cost(data: Path, out: Path) -> Iterable[str]:
    """Run the app; yield its exit status, wall time, CPU time and peak memory."""
    shutil.rmtree(out, ignore_errors=True)
    began = time.perf_counter()
    command = [sys.executable, "-m", "bids_app", str(data), str(out), "participant", "--cord", "builtin"]
    process = subprocess.Popen([*command, "--device", "cpu"])
    peak = 0
    while process.poll() is None:
        peak = max(peak, memory_of_tree(process.pid))
        time.sleep(0.2)
    wall = time.perf_counter() - began
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    yield f"exit status {process.returncode}"
    yield f"wall {wall:.0f} s, CPU {used.ru_utime + used.ru_stime:.0f} s"
    yield f"peak memory of all processes together {peak / 2**30:.2f} GiB (sampled five times a second)"


def memory_of_tree(root: int) -> int:
    """Return the resident memory of a process and all below it, in bytes; shared pages count in each."""
    parents, sizes = {}, {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((folder / "stat").read_text().rsplit(")", 1)[1].split()[1])
            pages = int((folder / "statm").read_text().split()[1])
        except (OSError, ValueError, IndexError):
            continue
        parents[int(folder.name)], sizes[int(folder.name)] = parent, pages
    below, added = {root}, True
    while added:
        more = {pid for pid, parent in parents.items() if parent in below} - below
        added = bool(more)
        below |= more
    return sum(sizes.get(pid, 0) for pid in below) * resource.getpagesize()


if __name__ == "__main__":
    sys.exit(main())
