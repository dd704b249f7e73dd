"""What the machine grants: processor cores and memory, with the limits of a container."""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from .errors import EnvironmentFault

#: Where control groups are mounted, and what this process belongs to.
_GROUPS, _OWN = Path("/sys/fs/cgroup"), Path("/proc/self/cgroup")
#: Memory that one preprocessing worker may need.
WORKER_GB = 2.0


@dataclass(frozen=True)
class Share:
    """How the processes that a run may use are shared out.

    Attributes
    ----------
    threads : int
        Of the networks, in the main process.
    workers : int
        Units that are prepared at once.
    inside : int
        Processes for each of them.
    """

    threads: int
    workers: int
    inside: int


def share(nprocs: int, units: int, mem_gb: float) -> Share:
    """Share out ``nprocs`` so that what runs at one time never needs more.

    A single unit is localised, prepared and segmented one after the other: each may have all. With more units a third of
    the processes segments one while the others prepare the next.
    """
    affordable = max(1, int(mem_gb / WORKER_GB))
    if units <= 1 or nprocs == 1:
        return Share(nprocs, 1, min(nprocs, affordable))
    threads = max(1, nprocs // 3)
    workers = max(1, min(nprocs - threads, units, affordable))
    return Share(threads, workers, max(1, min(nprocs - threads, affordable) // workers))


def available_cores() -> int:
    """Return the number of cores that this process may use: affinity and the container's CPU limit."""
    cores = len(os.sched_getaffinity(0))
    for folder in _groups("cpu"):
        with suppress(OSError, ValueError):
            quota, period = _quota(folder)
            if quota > 0:
                cores = min(cores, max(1, quota // period))
    return cores


def available_memory_gb() -> float:
    """Return the memory that this process may use in GiB: that of the machine, or the container's limit."""
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    for folder in _groups("memory"):
        for name in ("memory.max", "memory.limit_in_bytes"):
            with suppress(OSError, ValueError):
                total = min(total, int((folder / name).read_text()))
    return total / 2**30


def prepare_process() -> None:
    """Set what libraries read when they are loaded; call it before any of them is."""
    ensure_home()
    # Threads that wait for each other give their core away. By default they wait in a busy loop, which on a machine with other
    # work takes twice the time. A policy that the user has set stays.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


def ensure_home() -> None:
    """Give this process and those that it starts a HOME that can be written to, where there is none.

    Users without a name and containers without a home are common, and libraries fail or complain there. It goes with the process.

    Raises
    ------
    EnvironmentFault
        There is no folder for temporary files either.
    """
    with suppress(RuntimeError, OSError):
        if os.access(Path.home(), os.W_OK):
            return
    try:
        folder = tempfile.mkdtemp(prefix="mscord-home-")
    except OSError as error:
        raise EnvironmentFault(
            f"There is no folder for temporary files that can be written to ({error.strerror}).",
            "Set TMPDIR to one; a container with a read-only root needs --tmpfs /tmp.",
        ) from error
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    os.environ["HOME"] = folder


def _quota(folder: Path) -> tuple[int, int]:
    """Return microseconds of processor time and of the period that they are granted in; no limit is a ValueError or below 0."""
    whole = folder / "cpu.max"
    if whole.exists():
        quota, period = whole.read_text().split()
        return int(quota), int(period)
    quota, period = ((folder / f"cpu.cfs_{name}_us").read_text() for name in ("quota", "period"))
    return int(quota), int(period)


def _groups(controller: str) -> list[Path]:
    """Return the folders of the control groups that limit this process: its own, and all above it.

    In a container its own group is usually mounted as the root, and the path that the kernel names lies outside.
    """
    roots = [(_GROUPS, "/"), (_GROUPS / controller, "/")]
    with suppress(OSError, ValueError):
        for line in _OWN.read_text().splitlines():
            _, names, path = line.split(":", 2)
            if not names:
                roots.append((_GROUPS, path))
            elif controller in names.split(","):
                roots.append((_GROUPS / controller, path))
    found = [
        Path(root, *path.strip("/").split("/")[:n])
        for root, path in roots
        for n in range(path.count("/") + 1)
    ]
    return [folder for folder in dict.fromkeys(found) if folder.is_dir()]
