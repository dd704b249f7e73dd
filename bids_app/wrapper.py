"""``mscord-docker``: the command line of ``mscord``, run in its Docker image.

Every folder and file that the command line, a ``MSCORD_*`` variable or the file of ``--config`` names is mounted at its own path,
so that paths mean the same inside and outside; all but the output and the work folder are read-only there.
"""

from __future__ import annotations

import argparse
import csv
import io
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from .cli import parser as mscord_parser
from .config import PREFIX, hyphened
from .errors import ExitCode, MscordError, UsageError
from .provenance import DIGEST

IMAGE = "mscord"
#: These say something and end: they need no folders.
_ALONE = ("--version", "--self-test")
#: What mscord writes to; all other paths are only read.
_WRITTEN = ("output_dir", "work_dir", "bids_database_dir")
#: Folders that the container has of its own and needs.
_OWN = ("bin", "dev", "etc", "lib", "lib64", "opt/mscord", "opt/sct", "proc", "sbin", "sys", "usr")
#: There is a card where its driver has made this.
_NVIDIA = Path("/dev/nvidiactl")


@dataclass(frozen=True)
class Mount:
    """A path that the container sees at the same place."""

    path: Path
    writable: bool

    def __str__(self) -> str:
        """Return the value of ``--mount``, in which a comma in a path is quoted."""
        fields = ["type=bind", f"source={self.path}", f"target={self.path}"]
        row = io.StringIO()
        csv.writer(row, lineterminator="").writerow(fields + ([] if self.writable else ["readonly"]))
        return row.getvalue()


def main(argv: list[str] | None = None) -> int:
    """Run mscord in its image, in the place of this process; returns the exit status where that cannot be."""
    spoken = sys.argv[1:] if argv is None else argv
    ours, theirs = _parser().parse_known_args(hyphened(spoken, ["--print-only"]))
    if ours.help:
        _parser().print_help()
        mscord_parser().print_help()
        return int(ExitCode.OK)
    try:
        command = docker_run(theirs, ours.image, ours.gpus, os.environ, create=not ours.print_only)
    except MscordError as error:
        sys.stderr.write(f"mscord-docker: {error}\n")
        return int(error.exit_code)
    if ours.print_only:
        sys.stdout.write(shlex.join(command) + "\n")
        return int(ExitCode.OK)
    docker = shutil.which(command[0])
    if docker is not None:
        os.execv(docker, command)
    sys.stderr.write("mscord-docker: there is no docker on PATH. Install Docker, or mscord itself.\n")
    return int(ExitCode.ENVIRONMENT)


def _parser() -> argparse.ArgumentParser:
    """Return the options of the wrapper itself; all others are mscord's."""
    result = argparse.ArgumentParser(
        prog="mscord-docker",
        usage="mscord-docker BIDS_DIR OUT_DIR participant|group [--image NAME] [--gpus WHICH] [--print-only] [options of mscord]",
        description="Run mscord in its Docker image: the command line of mscord, turned into the docker run that does the same.",
        add_help=False,
        allow_abbrev=False,
    )
    add = result.add_argument
    add("-h", "--help", action="store_true", help="show this help and that of mscord")
    add("--image", default=IMAGE, metavar="NAME", help="name of the image (default: %(default)s)")
    add("--gpus", metavar="WHICH",
        help="none, or as for docker run; default: all where there is an NVIDIA card and --device is not cpu")  # fmt: skip
    add("--print-only", action="store_true", help="print the command and do nothing")
    return result


def docker_run(
    arguments: Sequence[str],
    image: str,
    gpus: str | None,
    environment: Mapping[str, str],
    *,
    create: bool,
) -> list[str]:
    """Return the ``docker run`` that does what ``mscord`` with these arguments would.

    Parameters
    ----------
    arguments : sequence of str
        Of mscord.
    image : str
    gpus : str or None
        For ``--gpus``; ``none`` for no card, None to look for one.
    environment : mapping of str to str
        Its ``MSCORD_*`` variables are handed on.
    create : bool
        Make folders that are written to where they are absent: Docker would make them as root.

    Raises
    ------
    UsageError
        A path is absent, or is one that the container needs for itself.
    SystemExit
        mscord would not take this command line, and says why.
    """
    command = ["docker", "run", "--rm", "--network", "none", "--read-only", "--tmpfs", "/tmp"]
    command += ["--cap-drop", "ALL", "--security-opt", "no-new-privileges"]
    command += ["--user", f"{os.getuid()}:{os.getgid()}"]
    device = "auto"
    if not any(name in hyphened(arguments, _ALONE) for name in _ALONE):
        given = mscord_parser().parse_args(list(arguments))
        device = given.device
        # Relative paths start from here, in the container as well.
        command += ["--workdir", str(Path.cwd())]
        for mount in mounts(vars(given), create=create):
            command += ["--mount", str(mount)]
    if gpus is None:
        gpus = "all" if device != "cpu" and _NVIDIA.exists() else "none"
    if gpus != "none":
        command += ["--gpus", gpus]
    for name in sorted(environment):
        if name.startswith(PREFIX):
            command += ["--env", name]
    digest = _digest(image)
    if digest and DIGEST not in environment:
        command += ["--env", f"{DIGEST}={digest}"]
    return [*command, image, *arguments]


def _digest(image: str) -> str:
    """Return which image that is, for the records of the run: its digest, else its id; empty where Docker does not say."""
    template = "{{if .RepoDigests}}{{index .RepoDigests 0}}{{else}}{{.Id}}{{end}}"
    command = ["docker", "image", "inspect", "--format", template, image]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.strip()


def mounts(given: Mapping[str, object], *, create: bool) -> list[Mount]:
    """Return what the container must see, those above before those below them.

    Raises
    ------
    UsageError
        A path is absent, or is one that the container needs for itself.
    """
    found: dict[Path, bool] = {}
    for name, value in given.items():
        for path in _paths(name, value):
            writable = name in _WRITTEN
            if writable and create:
                path.mkdir(parents=True, exist_ok=True)
            if not writable and not path.exists():
                raise UsageError(f"{path} does not exist.")
            _refuse_own(path)
            found[path] = found.get(path, False) or writable
    return [Mount(path, writable) for path, writable in sorted(found.items())]


def _paths(name: str, value: object) -> list[Path]:
    """Return the paths that an option names."""
    values = value if isinstance(value, list) else [value]
    paths = [Path(os.path.abspath(one)) for one in values if isinstance(one, Path)]  # noqa: PTH100 - without "..", links kept
    if name == "config" and isinstance(value, str):
        paths = [Path(os.path.abspath(value))]  # noqa: PTH100
    # Weights lie beside their model card.
    cards = [path.with_suffix(".json") for path in paths if name == "weights"]
    return paths + [card for card in cards if card.exists()]


def _refuse_own(path: Path) -> None:
    own = [Path("/", name) for name in _OWN]
    if any(folder.is_relative_to(path) or path.is_relative_to(folder) for folder in own):
        raise UsageError(f"{path} cannot be mounted: the container has its own.", "Put the data elsewhere.")


if __name__ == "__main__":
    sys.exit(main())
