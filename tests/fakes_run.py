"""Small datasets to run the whole app on, in a process of its own."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path

import nibabel as nib


def make_dataset(root: Path, scan: nib.Nifti1Image, labels: Sequence[str]) -> Path:
    for label in labels:
        folder = root / f"sub-{label}/anat"
        folder.mkdir(parents=True)
        nib.save(scan, folder / f"sub-{label}_T2starw.nii.gz")
    (root / "dataset_description.json").write_text(json.dumps({"Name": "test", "BIDSVersion": "1.10.0"}))
    return root


def command(root: Path, out: Path, *more: str) -> list[str]:
    line = ["participant", "--cord", "builtin", "--device", "cpu", "--nprocs", "1", *more]
    return [sys.executable, "-m", "bids_app", str(root), str(out), *line]


def environment(**more: str) -> dict[str, str]:
    """Return as little of an environment as there can be."""
    return {"PATH": "/usr/bin:/bin", "OMP_NUM_THREADS": "1", **more}


def masks(out: Path) -> list[Path]:
    return sorted(out.rglob("*label-lesion*_mask.nii.gz"))
