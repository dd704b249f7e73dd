"""The phantom of the self-test: ``python -m bids_app.selftest.phantom FOLDER`` made the one that ships."""

from __future__ import annotations

import gzip
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
from nibabel.affines import apply_affine
from numpy.typing import NDArray

#: The simulated participant: a lesion of about 270 mm3 that both sequences show.
SEED = 26
#: Half the length of cord in the sagittal scan, mm.
HALF_MM = 40.0
#: What is kept around the lesion to the left, to the front and upwards, mm: little, so that the self-test is quick.
AROUND_MM = (36.0, 40.0, 32.0)


def main(argv: list[str] | None = None) -> int:
    """Write the phantom."""
    (folder,) = sys.argv[1:] if argv is None else argv
    make(Path(folder))
    return 0


def make(folder: Path) -> None:
    """Write the phantom as a BIDS dataset: one simulated participant with two scans, and the true masks under derivatives."""
    import torch

    from ..images import write_image
    from ..simulate.dataset import start_dataset, write_participant, write_participants

    start_dataset(folder)
    write_participants(folder, ["phantom"], [])
    sagittal, _ = write_participant(
        folder, "phantom", SEED, ("T2Sag", "T2starAx"), torch.device("cpu"), HALF_MM
    )
    inside = np.argwhere(np.asarray(sagittal.lesion.dataobj))
    centre = apply_affine(sagittal.lesion.affine, inside.mean(axis=0))
    for path in sorted(folder.rglob("*.nii.gz")):
        image = nib.Nifti1Image.from_bytes(gzip.decompress(path.read_bytes()))
        write_image(path, image.slicer[_around(image, centre)])


def _around(image: nib.Nifti1Image, centre_mm: NDArray[np.float64]) -> tuple[slice, ...]:
    """Return the slices of an array that hold the box around a point, RAS+ mm."""
    signs = np.array(np.meshgrid(*[(-1, 1)] * 3)).reshape(3, -1).T
    corners = apply_affine(np.linalg.inv(image.affine), centre_mm + signs * AROUND_MM)
    low = np.maximum(np.floor(corners.min(axis=0)), 0).astype(int)
    return tuple(
        slice(start, stop)
        for start, stop in zip(low, np.ceil(corners.max(axis=0)).astype(int) + 1, strict=True)
    )


if __name__ == "__main__":
    sys.exit(main())
