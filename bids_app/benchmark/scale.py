"""Many participants in one run: whether it slows down or grows, and what a kill costs."""

from __future__ import annotations

import contextlib
import random
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from .measure import Line

PARTICIPANTS = 200
#: Different people among them; the others are copies.
PEOPLE = 8
#: Participants of the run that is killed.
KILLED = 12
#: It is killed up to this long after the first of them is finished, s.
KILLED_WITHIN_S = 6
#: How often the memory of the run is looked at, s.
EVERY_S = 0.5


def lines(rounds: int, out: Path) -> Iterator[Line]:
    """Yield how a run of many participants goes, and how one goes on that was killed."""
    del rounds, out
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_dataset(folder / "bids", PARTICIPANTS)
        yield from _steady(folder)
        yield from _killed(folder)


def make_dataset(root: Path, participants: int) -> None:
    """Simulate a few people with one axial scan each, and copy them."""
    import torch

    from ..simulate.dataset import start_dataset, write_participant

    start_dataset(root)
    for number in range(min(PEOPLE, participants)):
        write_participant(root, f"{number:03d}", number, ("T2starAx",), torch.device("cpu"))
    shutil.rmtree(root / "derivatives", ignore_errors=True)
    for number in range(PEOPLE, participants):
        for path in sorted((root / f"sub-{number % PEOPLE:03d}").rglob("sub-*")):
            copy = root / str(path.relative_to(root)).replace(
                f"sub-{number % PEOPLE:03d}", f"sub-{number:03d}"
            )
            if path.is_file():
                copy.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(path, copy)


def _command(folder: Path, out: str) -> list[str]:
    line = [str(folder / "bids"), str(folder / out), "participant", "--cord", "builtin", "--device", "cpu"]
    return [sys.executable, "-m", "bids_app", *line, "--work-dir", str(folder / f"{out}-work")]


def _steady(folder: Path) -> Iterator[Line]:
    memory: list[float] = []
    began = time.time()
    with subprocess.Popen(_command(folder, "out"), stderr=subprocess.DEVNULL) as process:
        while process.poll() is None:
            memory.append(_resident_gb(process.pid))
            time.sleep(EVERY_S)
    done = sorted(path.stat().st_mtime for path in (folder / "out/logs").glob("sub-*_status.json"))
    gaps = [after - before for before, after in zip([began, *done], done, strict=False)]
    quarter = len(gaps) // 4
    # The first one bears the start of the program.
    first, last = statistics.mean(gaps[1 : quarter + 1]), statistics.mean(gaps[-quarter:])
    yield Line(
        f"speed of the last quarter of {PARTICIPANTS} participants, as part of the first", first / last, "x", 0.9,
        detail=f"{first:.2f} and {last:.2f} s a participant with one scan; {len(done)} done, exit status {process.returncode}",
    )  # fmt: skip
    early, late = (
        statistics.median(part)
        for part in (memory[len(memory) // 8 : len(memory) // 4], memory[-len(memory) // 4 :])
    )
    yield Line(
        "memory of the main process in the last quarter, as part of the first", late / early, "x", 1.1, at_most=True,
        detail=f"{early:.2f} and {late:.2f} GiB",
    )  # fmt: skip
    group = subprocess.run([*_command(folder, "out")[:5], "group"], check=False, capture_output=True)
    rows = len((folder / "out/group_units.tsv").read_text().splitlines()) - 1
    yield Line(
        "participants that the group level lists",
        rows,
        "",
        PARTICIPANTS,
        detail=f"exit status {group.returncode}",
    )


def _killed(folder: Path) -> Iterator[Line]:
    """Kill a run at a random moment and let it go on; its masks are those of the run that was left alone.

    Raises
    ------
    RuntimeError
        The run ends before it is killed, or there are no masks: there is nothing to compare.
    """
    chosen = ["--participant-label", *(f"{number:03d}" for number in range(KILLED))]
    command = [*_command(folder, "killed"), *chosen]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as process:
        began = time.monotonic()
        while process.poll() is None and not _written(folder / "killed"):
            time.sleep(0.1)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(random.uniform(0, KILLED_WITHIN_S))
        if process.returncode is not None:
            raise RuntimeError(
                f"The run ended by itself, with status {process.returncode}, before it was killed."
            )
        process.send_signal(signal.SIGKILL)
        seconds = time.monotonic() - began
    finished = _written(folder / "killed")
    subprocess.run(command, check=False, stderr=subprocess.DEVNULL)
    now = _written(folder / "killed")
    redone = sum(now[name] != finished[name] for name in finished)
    masks = [
        path.relative_to(folder / "out")
        for number in range(KILLED)
        for path in (folder / "out" / f"sub-{number:03d}").rglob("*.nii.gz")
    ]
    if not masks:
        raise RuntimeError("The run that was left alone has no masks.")
    same = sum(
        (folder / "killed" / path).read_bytes() == (folder / "out" / path).read_bytes() for path in masks
    )
    yield Line(
        "finished participants that a run does again after a kill", redone, "", 0, at_most=True,
        detail=f"killed after {seconds:.0f} s with {len(finished)} of {KILLED} finished",
    )  # fmt: skip
    yield Line(
        "masks that are those of a run that was left alone", same, "", len(masks), detail="byte by byte"
    )


def _written(out: Path) -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in (out / "logs").glob("sub-*_status.json")}


def _resident_gb(pid: int) -> float:
    """Return the memory that a process holds, GiB; 0 once it is gone."""
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    except (OSError, IndexError):
        return 0.0
    return pages * 4096 / 2**30
