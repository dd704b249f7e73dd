"""``mscord-simulate``: write a BIDS dataset of simulated participants with lesions and their masks."""

from __future__ import annotations

import argparse
import logging
import sys
from pathlib import Path

from ..errors import ExitCode, MscordError, UsageError

log = logging.getLogger("bids_app")


def parser() -> argparse.ArgumentParser:
    """Return the command line of ``mscord-simulate``."""
    result = argparse.ArgumentParser(
        prog="mscord-simulate",
        description="Write a BIDS dataset of simulated spinal cord MRI, with the true masks under derivatives/truth.",
    )
    result.add_argument("output_dir", type=Path, help="a new or empty folder")
    result.add_argument(
        "--participants", type=int, default=4, metavar="N", help="how many (default: %(default)s)"
    )
    result.add_argument(
        "--seed", type=int, default=0, help="equal seeds give equal datasets (default: %(default)s)"
    )
    return result


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
        simulate(options.output_dir, options.participants, options.seed)
    except MscordError as error:
        log.error("%s", error)
        return int(error.exit_code)
    return int(ExitCode.OK)


def simulate(folder: Path, participants: int, seed: int) -> None:
    """Write the dataset.

    Raises
    ------
    UsageError
        The folder holds something already, or fewer than one participant is asked for.
    """
    if participants < 1:
        raise UsageError("At least one participant is needed.")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UsageError(f"{folder} is not an empty folder.", "Name a new one.")
    from .dataset import start_dataset, write_participant, write_participants

    width = max(2, len(str(participants)))
    labels = [f"{number:0{width}d}" for number in range(1, participants + 1)]
    start_dataset(folder)
    write_participants(folder, labels)
    for number, label in enumerate(labels):
        # Far from the seeds of training samples, which begin at 10_000_019 times the training seed.
        images = write_participant(folder, label, 7_000_000_000 + 100_003 * seed + number)
        log.info("sub-%s: %s", label, ", ".join(image.sequence for image in images))
