"""Spinal Cord Toolbox 7, called as a program.

Its return code proves nothing, it writes beside its input, and it reads the environment in odd ways: every
call gets a private folder, a clean environment and explicit paths, and what it leaves is checked.
"""

from __future__ import annotations

import contextlib
import logging
import os
import re
import shutil
import signal
import subprocess
import sys
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..errors import BadImageError, CordError, EnvironmentFault, UnitError
from ..images import is_compressed, read_grid, read_labels, write_like
from ..space import Grid
from . import leash

_log = logging.getLogger(__name__)

#: The version that this interface is written for.
NEEDED_VERSION = "7."
#: A cord model took 14 minutes on a laptop; a slow node may need several times that.
TIMEOUT_S = 7200.0
VERSION_TIMEOUT_S = 120.0
#: SCT may rewrite a header with rounding errors; more than this is another grid.
GRID_TOLERANCE_MM = 0.1
_INSTALL = "Install SCT 7.3 and put its bin folder on PATH, or use --cord builtin."


def sct_version() -> str | None:
    """Return the version of the SCT on PATH, or None where there is none that the app can use."""
    try:
        return require_sct()
    except EnvironmentFault as fault:
        _log.info("%s", fault.message)
        return None


def require_sct() -> str:
    """Return the version of the SCT on PATH.

    Raises
    ------
    EnvironmentFault
        SCT is not on PATH, does not answer, or is not version 7.
    """
    program = shutil.which("sct_version")
    if program is None or shutil.which("sct_deepseg") is None:
        raise EnvironmentFault("Spinal Cord Toolbox (SCT) is not on PATH.", _INSTALL)
    version = _ask_version(program, Path(program).stat().st_mtime_ns)
    if version is None:
        raise EnvironmentFault("The Spinal Cord Toolbox on PATH does not tell its version.", _INSTALL)
    if not version.startswith(NEEDED_VERSION):
        raise EnvironmentFault(
            f"The Spinal Cord Toolbox on PATH is {version}; version 7 is needed.", _INSTALL
        )
    return version


@lru_cache(maxsize=8)
def _ask_version(program: str, changed_ns: int) -> str | None:
    """Run ``sct_version`` once per program file (``changed_ns`` tells a replaced one)."""
    try:
        answer = subprocess.run(
            [program],
            capture_output=True,
            text=True,
            timeout=VERSION_TIMEOUT_S,
            check=False,
            stdin=subprocess.DEVNULL,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    found = re.findall(r"(?<![\w.])\d+\.\d+[\w.+-]*", answer.stdout)
    return str(found[-1]) if answer.returncode == 0 and found else None


def segment_cord(
    image: Path, mask: Path, folder: Path, *, device: str = "cpu", timeout_s: float = TIMEOUT_S
) -> str:
    """Segment the cord of one image with ``sct_deepseg spinalcord``.

    Parameters
    ----------
    image : Path
        NIfTI, 3D; never written to and nothing is written beside it.
    mask : Path
        Where the mask goes: uint8, on exactly the grid of the image, with its header.
    folder : Path
        Private working folder of this call; emptied first. ``sct.log`` stays there.
    device : str
        ``cpu``, ``cuda``, or ``cuda:N``: the card that SCT uses.
    timeout_s : float

    Returns
    -------
    str
        Version of SCT.

    Raises
    ------
    EnvironmentFault
        No usable SCT.
    UnitError
        SCT failed, took too long, or left something that is not a mask of this image.
    CordError
        SCT found no cord.
    """
    version = require_sct()
    mask = mask.absolute()
    mask.unlink(missing_ok=True)
    folder = _fresh(folder)
    linked, output = _linked(image, folder, "image"), folder / "cord.nii.gz"
    arguments = ["spinalcord", "-i", str(linked), "-o", str(output)]
    _run("sct_deepseg", arguments, folder, _Task("the cord", image.name), device, timeout_s)
    values = _checked_output(output, image, "cord mask")
    if not values.any():
        raise CordError(f"SCT found no spinal cord in {image.name}: its mask is empty.")
    write_like(mask, (values > 0.5).astype(np.uint8), image)
    _tidy(folder)
    return version


def label_vertebrae(
    image: Path, mask: Path, folder: Path, *, contrast: str, timeout_s: float = TIMEOUT_S
) -> NDArray[np.int64]:
    """Label the vertebral levels of a cord mask with ``sct_label_vertebrae``.

    Parameters
    ----------
    image, mask : Path
        NIfTI, 3D, on one grid; never written to and nothing is written beside them.
    folder : Path
        Private working folder of this call; emptied first. ``sct.log`` stays there.
    contrast : str
        ``t1`` or ``t2``: whether fluid is dark or bright.
    timeout_s : float

    Returns
    -------
    array of int, shape of the image
        1 for C1 to 24 for L5, 0 elsewhere. Whether that is plausible is not asked here.

    Raises
    ------
    EnvironmentFault
        No usable SCT.
    UnitError
        SCT failed, took too long, or left something that is no label map of this image.
    """
    require_sct()
    folder = _fresh(folder)
    linked, cord = _linked(image, folder, "image"), _linked(mask, folder, "cord")
    arguments = ["-i", str(linked), "-s", str(cord), "-c", contrast, "-ofolder", str(folder)]
    _run("sct_label_vertebrae", arguments, folder, _Task("the vertebrae", image.name), "cpu", timeout_s)
    values = _checked_output(folder / "cord_labeled.nii.gz", image, "label map")
    _tidy(folder)
    return np.asarray(np.round(values), np.int64)


@dataclass(frozen=True)
class _Task:
    """What a call is for, in the words of its errors."""

    what: str
    image: str


def _fresh(folder: Path) -> Path:
    folder = folder.absolute()
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder


def _linked(path: Path, folder: Path, name: str) -> Path:
    """Put a file into the working folder of a call, so that nothing is written beside it."""
    linked = folder / (f"{name}.nii.gz" if is_compressed(path) else f"{name}.nii")
    try:
        linked.symlink_to(path.absolute())
    except OSError:  # a file system without links
        shutil.copyfile(path, linked)
    return linked


def _tidy(folder: Path) -> None:
    for name in ("home", "tmp"):
        shutil.rmtree(folder / name, ignore_errors=True)


def _environment(folder: Path, device: str) -> dict[str, str]:
    """Return the environment of a call.

    The presence of SCT_USE_GPU, whatever its value, means GPU; SCT takes the first card that it sees.
    """
    ours = ("SCT_USE_GPU", "PYTHONPATH", "PYTHONHOME", "PYTHONSTARTUP", "VIRTUAL_ENV")
    environment = {name: value for name, value in os.environ.items() if name not in ours}
    for name, variable in (("home", "HOME"), ("tmp", "TMPDIR")):
        (folder / name).mkdir()
        environment[variable] = str(folder / name)
    environment |= {
        "OMP_NUM_THREADS": "1",
        "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS": "1",
        "PYTHONNOUSERSITE": "1",
    }
    if device != "cpu":
        environment["SCT_USE_GPU"] = "1"
        environment |= _card(device, environment.get("CUDA_VISIBLE_DEVICES"))
    return environment


def _card(device: str, visible: str | None) -> dict[str, str]:
    """Return what shows SCT the one card that ``cuda:N`` means here: the N-th of those that this process sees."""
    _, _, number = device.partition(":")
    if not number:
        return {}
    cards = visible.split(",") if visible else []
    return {"CUDA_VISIBLE_DEVICES": cards[int(number)] if int(number) < len(cards) else number}


def _run(
    program: str, arguments: list[str], folder: Path, task: _Task, device: str, timeout_s: float
) -> None:
    log = folder / "sct.log"
    found = shutil.which(program)
    if found is None:
        raise UnitError(f"The Spinal Cord Toolbox on PATH has no {program}.", _INSTALL)
    code = _held(found, arguments, folder, task, timeout_s, _environment(folder, device))
    if code == leash.NOT_STARTED:
        reason = log.read_text(errors="replace").strip().splitlines()[-1:]
        raise EnvironmentFault(f"{program} cannot be started ({' '.join(reason)}).", _INSTALL)
    if code != 0:
        lines = [line.strip() for line in log.read_text(errors="replace").splitlines() if line.strip()]
        last = f" ({lines[-1][:160]})" if lines else ""
        raise UnitError(
            f"SCT failed on {task.what} of {task.image} with return code {code}{last}.", f"Its log is {log}."
        )


def _held(
    program: str,
    arguments: list[str],
    folder: Path,
    task: _Task,
    timeout_s: float,
    environment: dict[str, str],
) -> int:
    """Run a program on a leash: nothing that it starts outlives the call, nor this process."""
    follow, hold = os.pipe()
    try:
        with (folder / "sct.log").open("wb") as stream:
            process = subprocess.Popen(
                [sys.executable, "-I", "-S", leash.__file__, str(follow), program, *arguments],
                cwd=folder,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                pass_fds=(follow,),
            )
        try:
            return process.wait(timeout=timeout_s)
        except subprocess.TimeoutExpired:
            raise UnitError(
                f"SCT did not finish {task.what} of {task.image} within {timeout_s:.0f} s.",
                f"Its log is {folder / 'sct.log'}.",
            ) from None
        finally:
            # Also on an interrupt, and what a program that has ended left running.
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    finally:
        os.close(follow)
        os.close(hold)


def _checked_output(output: Path, image: Path, what: str) -> NDArray[np.float32]:
    """Return what SCT wrote, or say what is wrong with it."""
    if not output.is_file():
        raise UnitError(
            f"SCT wrote no {what} for {image.name}, though it reported success.",
            f"Its log is {output.with_name('sct.log')}.",
        )
    grid = read_grid(image)
    try:
        written = read_grid(output)
        if not _same_grid(written, grid):
            raise UnitError(f"SCT wrote a {what} for {image.name} on another grid than the image's.")
        values, _ = read_labels(output)
    except BadImageError as error:
        raise UnitError(f"SCT wrote an unusable {what} for {image.name}: {error.message}") from error
    return values


def _same_grid(a: Grid, b: Grid) -> bool:
    if a.shape != b.shape:
        return False
    return bool(np.abs(a.corners_mm() - b.corners_mm()).max() <= GRID_TOLERANCE_MM)
