"""Worker processes: spawned, and gone when their parent is, however it went."""

from __future__ import annotations

import multiprocessing
import os
import threading
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from contextlib import suppress
from multiprocessing.connection import wait
from pathlib import Path

#: Where memory runs out, the kernel ends the process with the highest score (-1000 to 1000) plus share of the memory.
OOM_SCORE = 500


def process_pool(count: int, prepare: Callable[[], None] | None = None) -> ProcessPoolExecutor:
    """Return a pool of processes; ``prepare`` runs first in each.

    They are spawned, not forked: a fork after torch or CUDA has started threads can hang. Left alone, the workers of a killed
    process would wait for work for ever.
    """
    return ProcessPoolExecutor(count, multiprocessing.get_context("spawn"), _begin, (prepare,))


def _begin(prepare: Callable[[], None] | None) -> None:
    threading.Thread(target=_follow, daemon=True).start()
    # One unit is better lost than the run: this process goes before its parent does.
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text(str(OOM_SCORE), encoding="ascii")
    if prepare:
        prepare()


def _follow() -> None:
    """End this process at once when its parent has ended."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)
