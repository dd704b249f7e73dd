"""Figures on the public development scans: ``python -m bids_app.figures DATA OUT``.

Runs the app on a BIDS folder of real scans and prints what it cost, how well the cords agree with the manual masks in
``DATA/derivatives/labels``, and how many lesions are marked on scans that are taken to have none.
"""

from __future__ import annotations

import argparse
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path

import torch

from . import images
from .errors import UnitError
from .evaluate.scores import dice
from .localise import Localiser
from .tables import read_table

#: Scans on which no lesion was seen: whatever is marked there is counted as false.
LESION_FREE = (
    "sub-dev01_acq-sag_T2w",
    "sub-dev02_acq-sagcrop_T1w",
    "sub-dev03_acq-ax_T2starw",
    "sub-dev05_acq-ax_run-1_T2starw",
    "sub-dev05_acq-ax_run-2_T2starw",
    "sub-dev06_acq-ax_run-1_T2starw",
    "sub-dev07_ses-01_acq-ax_run-1_T2starw",
    "sub-dev07_ses-02_acq-ax_run-1_T2starw",
    "sub-dev10_acq-ax_T2starw",
)


def main(argv: list[str] | None = None) -> int:
    """Run and print."""
    parser = argparse.ArgumentParser(prog="python -m bids_app.figures", description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    options = parser.parse_args(argv)
    say(cost(options.data, options.out))
    say(cords(options.data, options.out))
    say(false_lesions(options.out))
    return 0


def say(lines: Iterable[str]) -> None:
    """Print lines as they come."""
    for line in lines:
        sys.stdout.write(line + "\n")
        sys.stdout.flush()


def cost(data: Path, out: Path) -> Iterable[str]:
    """Run the app; yield its exit status, wall time, CPU time and peak memory."""
    shutil.rmtree(out, ignore_errors=True)
    began = time.perf_counter()
    command = [sys.executable, "-m", "bids_app", str(data), str(out), "participant", "--cord", "builtin"]
    process = subprocess.Popen([*command, "--device", "cpu"])
    peak = 0
    while process.poll() is None:
        peak = max(peak, memory_of_tree(process.pid))
        time.sleep(0.2)
    wall = time.perf_counter() - began
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    yield f"exit status {process.returncode}"
    yield f"wall {wall:.0f} s, CPU {used.ru_utime + used.ru_stime:.0f} s"
    yield f"peak memory of all processes together {peak / 2**30:.2f} GiB (sampled five times a second)"


def memory_of_tree(root: int) -> int:
    """Return the resident memory of a process and all below it, in bytes; shared pages count in each."""
    parents, sizes = {}, {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((folder / "stat").read_text().rsplit(")", 1)[1].split()[1])
            pages = int((folder / "statm").read_text().split()[1])
        except (OSError, ValueError, IndexError):
            continue
        parents[int(folder.name)], sizes[int(folder.name)] = parent, pages
    below, added = {root}, True
    while added:
        more = {pid for pid, parent in parents.items() if parent in below} - below
        added = bool(more)
        below |= more
    return sum(sizes.get(pid, 0) for pid in below) * resource.getpagesize()


def cords(data: Path, out: Path) -> Iterable[str]:
    """Yield the Dice of each cord mask against the manual one; images that the app does not use go straight to the localiser."""
    localiser = Localiser(torch.device("cpu"))
    yield "cord Dice against manual masks"
    for manual in sorted((data / "derivatives" / "labels").rglob("*_label-SC_seg.nii.gz")):
        reference, _ = images.read_mask(manual)
        stem = manual.name.removesuffix("_label-SC_seg.nii.gz")
        made = _output(out, stem, "label-SC", "mask.nii.gz")
        where = "output of the app"
        try:
            if made is None:
                where = "Python function, the app does not use this image"
                source = next(
                    path for path in data.rglob(f"{stem}.nii.gz") if "derivatives" not in path.parts
                )
                mask = localiser(*images.read_volume(source)) > 0
            else:
                mask, _ = images.read_mask(made)
            yield f"  {stem}\t{dice(mask, reference):.3f}\t{where}"
        except UnitError as error:
            yield f"  {stem}\tno cord\t{error}"


def false_lesions(out: Path) -> Iterable[str]:
    """Yield the lesions marked on each scan that is taken to have none."""
    yield "lesions marked on scans that are taken to have none"
    total = 0
    for stem in LESION_FREE:
        table = _output(out, stem, "seg-lesions", "dseg.tsv")
        if table is None:
            yield f"  {stem}\tno output"
            continue
        rows = [row for row in read_table(table) if int(row["voxels"]) > 0]
        total += len(rows)
        volume = sum(float(row["volume_mm3"]) for row in rows)
        yield f"  {stem}\t{len(rows)}\t{volume:.0f} mm3"
    yield f"  total\t{total} in {len(LESION_FREE)} scans"


def _output(out: Path, stem: str, kind: str, ending: str) -> Path | None:
    """Return the output of an image, by its input's name."""
    entities, suffix = stem.rsplit("_", 1)
    found = [
        path
        for path in out.rglob(f"{entities}_space-orig_{kind}_desc-{suffix}*_{ending}")
        if path.name.startswith(f"{entities}_space-orig")
    ]
    return found[0] if found else None


if __name__ == "__main__":
    sys.exit(main())
