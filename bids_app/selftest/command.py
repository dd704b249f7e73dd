"""Segment the phantom and compare the result with the truth, in words."""

from __future__ import annotations

import argparse
import logging
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ..errors import EnvironmentFault, ExitCode, MscordError
from ..machine import available_memory_gb, prepare_process
from ..options import Options

log = logging.getLogger("bids_app")

PHANTOM = Path(__file__).with_name("data")
#: Least Dice with the truth in either scan. Measured: cord .72 and .94, lesion .80 and .77.
LEAST = {"SC": 0.6, "lesion": 0.6}
_NAMES = {"SC": "cord", "lesion": "lesion"}
_BROKEN = "This installation gives wrong answers: do not use it."


@dataclass(frozen=True)
class Checked:
    """How one mask agrees with the truth.

    Attributes
    ----------
    what : str
        Mask and scan, in words.
    dice : float
        Dice coefficient; -1 where there is no mask on the scan's grid.
    least : float
        What it must reach.
    """

    what: str
    dice: float
    least: float

    @property
    def good(self) -> bool:
        """Whether it agrees."""
        return self.dice >= self.least

    def __str__(self) -> str:
        """Return a line for the terminal."""
        found = f"Dice {self.dice:.2f}" if self.dice >= 0 else "no mask on the grid of the scan"
        return f"{'ok   ' if self.good else 'WRONG'} {self.what}: {found}, at least {self.least} is needed"


def main(argv: list[str] | None = None) -> int:
    """Run the self-test; returns the exit status."""
    options = parser().parse_args(argv)
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(message)s", stream=sys.stderr)
    try:
        prepare_process()
        with tempfile.TemporaryDirectory(prefix="mscord-self-test-") as folder:
            run(Path(folder), options.device, options.cord)
    except MscordError as error:
        log.error("Self-test failed: %s", error)
        return int(error.exit_code)
    except OSError as error:
        log.error("Self-test failed: %s", error)
        return int(ExitCode.ENVIRONMENT)
    except Exception:
        log.exception("Self-test failed, and not in a way that was foreseen.")
        return int(ExitCode.UNFORESEEN)
    return int(ExitCode.OK)


def parser() -> argparse.ArgumentParser:
    """Return the command line of ``mscord --self-test``."""
    result = argparse.ArgumentParser(
        prog="mscord --self-test",
        description="Segment a simulated phantom that ships with mscord, and check the answer. Nothing is kept.",
    )
    add = result.add_argument
    add("--self-test", action="store_true", help=argparse.SUPPRESS)
    add(
        "--device", default="auto", metavar="auto|cpu|cuda[:N]", help="where the networks run (default: auto)"
    )
    add("--cord", choices=("sct", "builtin"), default="builtin",
        help="who finds the cord (default: builtin, which takes seconds)")  # fmt: skip
    return result


def run(folder: Path, device: str = "auto", cord: str = "builtin") -> list[Checked]:
    """Segment the phantom into an empty folder, print how that agrees with the truth, and return it.

    Raises
    ------
    MscordError
        The run failed, or its answer is wrong.
    """
    from ..pipeline import run as run_level

    began = time.perf_counter()
    out = folder / "out"
    options = Options(
        PHANTOM,
        out,
        device=device,
        cord=cord,
        work_dir=folder / "work",
        nprocs=1,  # little work: on a busy machine threads would wait for each other longer than they work
        mem_gb=available_memory_gb(),
        skip_bids_validation=True,
    )
    code = run_level(options, ["mscord", "--self-test"])
    if code != ExitCode.OK:
        raise EnvironmentFault(
            f"The run on the phantom ended with exit status {int(code)}.", "The lines above say why."
        )
    checked = list(check(out))
    for one in checked:
        sys.stdout.write(f"{one}\n")
    wrong = sum(not one.good for one in checked)
    if wrong:
        raise EnvironmentFault(f"{wrong} of {len(checked)} masks of the phantom are wrong.", _BROKEN)
    sys.stdout.write(f"Self-test passed in {time.perf_counter() - began:.0f} s.\n")
    return checked


def check(out: Path) -> Iterator[Checked]:
    """Compare every mask with the truth; the phantom decides which there must be."""
    for truth in sorted((PHANTOM / "derivatives" / "truth").rglob("*_mask.nii.gz")):
        label = "SC" if "_label-SC_" in truth.name else "lesion"
        scan = truth.name.replace(f"_space-orig_label-{label}_desc-", "_").removesuffix("_mask.nii.gz")
        yield Checked(
            f"{_NAMES[label]} in {scan}",
            _agreement(out / truth.parent.parent.name / "anat" / truth.name, truth),
            LEAST[label],
        )


def _agreement(found: Path, truth: Path) -> float:
    """Return the Dice coefficient of two masks; -1 where the first is absent or on another grid."""
    import numpy as np

    from ..errors import BadImageError
    from ..evaluate.scores import dice
    from ..images import read_mask

    try:
        (mask, grid), (reference, right) = read_mask(found), read_mask(truth)
    except BadImageError:
        return -1.0
    if mask.shape != reference.shape or not np.array_equal(grid.affine, right.affine):
        return -1.0
    return dice(mask, reference)
