"""Small BIDS datasets with real headers, for the tests of discovery."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel as nib
import numpy as np
from conftest import oriented_affine

from bids_app.discover import discover
from bids_app.images import plane_of, read_grid
from bids_app.options import Options
from bids_app.records import Discovery, Image

#: Spacing (mm) along R, A, S.
SPACING = {"sagittal": (3, 1, 1), "axial": (0.5, 0.5, 5), "coronal": (1, 3, 1), "isotropic": (1, 1, 1)}


def write_scan(
    path: Path, plane: str = "sagittal", low: float = 0, high: float = 200, slices: int = 8, **sidecar: object
) -> Path:
    """Write an image from ``low`` to ``high`` mm along S, so many voxels wide, and its sidecar where fields are given."""
    spacing = SPACING[plane]
    count = round((high - low) / spacing[2])
    affine = oriented_affine("RAS", spacing)
    affine[2, 3] = low + spacing[2] / 2
    image = nib.Nifti1Image(np.arange(slices * 8 * count).reshape(slices, 8, count).astype(np.int16), affine)
    image.set_qform(affine, 1)
    image.set_sform(affine, 1)
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(image, path)
    if sidecar:
        path.with_name(path.name.split(".nii")[0] + ".json").write_text(json.dumps(sidecar))
    return path


def scan(
    root: Path, name: str, plane: str = "sagittal", low: float = 0, high: float = 200, **sidecar: object
) -> Path:
    """Write an image into the place that its BIDS name (without extension) says."""
    folders = [part for part in name.split("_") if part.startswith(("sub-", "ses-"))]
    return write_scan(root.joinpath(*folders, "anat", f"{name}.nii.gz"), plane, low, high, **sidecar)


def dataset(root: Path) -> Path:
    """Start a dataset."""
    root.mkdir(parents=True, exist_ok=True)
    (root / "dataset_description.json").write_text('{"Name": "a test", "BIDSVersion": "1.10.0"}')
    return root


def options(root: Path, **changes: object) -> Options:
    return Options(root, root.parent / "out", **changes)  # type: ignore[arg-type]


def found(root: Path, **changes: object) -> Discovery:
    return discover(options(root, **changes))


def messages(discovery: Discovery, *, fatal: bool) -> list[str]:
    """Errors or warnings, each with its next step."""
    return [f"{p.message} {p.next_step}" for p in discovery.problems if p.fatal is fatal]


def units_of(discovery: Discovery) -> list[tuple[list[str], list[str]]]:
    """Stems of the inputs (the reference first) and of the other images, for each unit."""
    return [([i.stem for i in unit.inputs], [i.stem for i in unit.others]) for unit in discovery.units]


def reasons(discovery: Discovery) -> dict[str, str]:
    """Why images are not used, by stem."""
    return {unused.path.name.split(".nii")[0]: unused.reason for unused in discovery.unused}


def image_of(path: Path, sequence: str, **entities: str) -> Image:
    """Record of an image file, without discovery."""
    grid = read_grid(path)
    return Image(path, "01", None, entities, "T2w", sequence, plane_of(grid), grid)


def tree(root: Path) -> dict[str, tuple[int, int]]:
    """Every path below a folder with its size and time of change."""
    return {str(path): (path.lstat().st_size, path.lstat().st_mtime_ns) for path in sorted(root.rglob("*"))}
