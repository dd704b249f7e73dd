"""``mscord-simulate``: write a BIDS dataset of simulated participants with lesions and their masks."""

from __future__ import annotations

import argparse
import logging
import sys
from functools import partial
from pathlib import Path

from ..errors import ExitCode, MscordError, UsageError
from ..processes import process_pool
from .cohorts import COHORTS, Member

log = logging.getLogger("bids_app")


def parser() -> argparse.ArgumentParser:
    """Return the command line of ``mscord-simulate``."""
    result = argparse.ArgumentParser(
        prog="mscord-simulate",
        description="Write a BIDS dataset of simulated spinal cord MRI, with the true masks under derivatives/truth.",
    )
    add = result.add_argument
    add("output_dir", type=Path, help="a new or empty folder")
    add("--participants", type=int, metavar="N", help="how many (default: 4, or all of --cohort)")
    add(
        "--cohort",
        choices=sorted(COHORTS),
        help="who has which sequences: walsh2024 is like the 247 people of Walsh et al. 2024",
    )
    add(
        "--seed",
        type=int,
        default=0,
        help="equal seeds give equal datasets on the same kind of device (default: %(default)s)",
    )
    add("--device", default="cpu", help="cpu, cuda or cuda:N (default: %(default)s)")
    add("--workers", type=int, default=1, metavar="N", help="processes (default: %(default)s)")
    return result  # fmt: skip


def main(argv: list[str] | None = None) -> int:
    """Simulate; returns the exit status."""
    options = parser().parse_args(argv)
    logging.basicConfig(
        stream=sys.stderr,
        level=logging.INFO,
        format="%(asctime)s %(levelname)s %(message)s",
        datefmt="%H:%M:%S",
    )
    try:
        simulate(options)
    except MscordError as error:
        log.error("%s", error)
        return int(error.exit_code)
    return int(ExitCode.OK)


def simulate(options: argparse.Namespace) -> None:
    """Write the dataset.

    Raises
    ------
    UsageError
        The folder holds something already, or the numbers make no sense.
    """
    folder: Path = options.output_dir
    members: list[Member | None] = list(COHORTS[options.cohort]()) if options.cohort else []
    count = len(members) or 4 if options.participants is None else options.participants
    if count < 1 or options.workers < 1:
        raise UsageError("At least one participant and one process are needed.")
    if members and count > len(members):
        raise UsageError(f"The cohort {options.cohort} has {len(members)} participants.", "Ask for fewer.")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UsageError(f"{folder} is not an empty folder.", "Name a new one.")
    members = _spread(members, count) if members else [None] * count
    from .dataset import start_dataset, write_participants

    width = max(2, len(str(count)))
    labels = [f"{number:0{width}d}" for number in range(1, count + 1)]
    start_dataset(folder)
    write_participants(folder, labels, [member.cohort for member in members if member])
    make = partial(_write, folder, options.seed, options.device)
    jobs = list(zip(range(count), labels, members, strict=True))
    if options.workers == 1:
        for job in jobs:
            _say(job[1], make(job))
        return
    with process_pool(options.workers) as pool:
        for job, sequences in zip(jobs, pool.map(make, jobs), strict=True):
            _say(job[1], sequences)


def _spread(members: list[Member | None], count: int) -> list[Member | None]:
    """Take ``count`` members evenly over the whole list, so that a part of a cohort is made up as the whole."""
    return [members[number * len(members) // count] for number in range(count)]


def _write(folder: Path, seed: int, device: str, job: tuple[int, str, Member | None]) -> list[str]:
    import torch

    from .dataset import write_participant

    torch.set_num_threads(1)
    number, label, member = job
    # Far from the seeds of training samples, which begin at 10_000_019 times the training seed.
    own = 7_000_000_000 + 100_003 * seed + number
    images = write_participant(folder, label, own, member.sequences if member else (), torch.device(device))
    return [image.sequence for image in images]


def _say(label: str, sequences: list[str]) -> None:
    log.info("sub-%s: %s", label, ", ".join(sequences))
