"""Where the app may write: never into the input, but for its ``derivatives`` folder."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path

from ..errors import EnvironmentFault, UsageError, check_all
from ..files import nearest
from ..options import Options


def check_places(options: Options) -> None:
    """Check the folders of the command line before anything is written.

    Nothing is created. Paths are compared with links resolved.

    Raises
    ------
    UsageError
        The input folder is missing; the output or work folder is the input, or lies inside it but not under
        ``derivatives``; one of them is a file.
    EnvironmentFault
        The output or work folder cannot be written to.
    """
    check_all(place_checks(options))


def place_checks(options: Options) -> list[Callable[[], None]]:
    """Return the checks of the folders one by one."""
    places = [("output", options.output_dir)]
    if options.work_dir is not None:
        places.append(("work", options.work_dir))
    return [
        partial(check_input, options.bids_dir),
        *(partial(_check_outside, what, folder, options.bids_dir) for what, folder in places),
        *(partial(_check_writable, what, folder) for what, folder in places),
    ]


def check_input(folder: Path) -> None:
    """Raise UsageError where the input is not a folder."""
    if not folder.exists():
        raise UsageError(
            f"The input folder {folder} does not exist.", "Give the top folder of a BIDS dataset."
        )
    if not folder.is_dir():
        raise UsageError(f"The input {folder} is not a folder.", "Give the top folder of a BIDS dataset.")


def _check_outside(what: str, folder: Path, bids_dir: Path) -> None:
    inside, root = folder.resolve(), bids_dir.resolve()
    if inside == root:
        raise UsageError(
            f"The {what} folder is the input folder ({folder}).",
            "Choose another one; the input is never written to.",
        )
    if inside.is_relative_to(root) and not inside.is_relative_to(root / "derivatives"):
        raise UsageError(
            f"The {what} folder {folder} lies inside the input folder {bids_dir}.",
            "Choose one outside it, or one under its derivatives folder.",
        )


def _check_writable(what: str, folder: Path) -> None:
    there = nearest(folder)
    if not there.is_dir():
        raise UsageError(
            f"The {what} folder {folder} cannot be made: {there} is a file.", "Choose another folder."
        )
    if not os.access(there, os.W_OK | os.X_OK):
        raise EnvironmentFault(
            f"The {what} folder {folder} is not writable.",
            "Choose another folder, or mount it for writing.",
        )
