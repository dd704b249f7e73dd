"""Where training runs: one device, and the processes that ``torchrun`` starts."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from typing import TYPE_CHECKING

from ..errors import UsageError

if TYPE_CHECKING:
    import torch


def device_of(wanted: str) -> torch.device:
    """Return the device that ``--device`` asks for.

    Raises
    ------
    UsageError
        CUDA is asked for and there is none.
    """
    import torch

    if wanted == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if wanted.startswith("cuda") and not torch.cuda.is_available():
        raise UsageError(f"--device {wanted} was asked for, but torch sees no CUDA device.")
    return torch.device(wanted)


@contextlib.contextmanager
def joined() -> Iterator[torch.device | None]:
    """Join the other processes that ``torchrun`` started; yields this one's device, or None where there is only one process."""
    if world() == 1:
        yield None
        return
    import torch
    from torch import distributed

    gpu = torch.cuda.is_available()
    distributed.init_process_group("nccl" if gpu else "gloo")
    try:
        yield torch.device("cuda", int(os.environ["LOCAL_RANK"])) if gpu else torch.device("cpu")
    finally:
        distributed.destroy_process_group()


def world() -> int:
    """Return how many processes ``torchrun`` started."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def is_first() -> bool:
    """Say whether this process is the one that writes the result."""
    from torch import distributed

    return not distributed.is_initialized() or distributed.get_rank() == 0
