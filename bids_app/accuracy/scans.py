"""The public development scans, brought into the common space one by one."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from .. import cord, images, resample, space
from ..cutting import Crop
from ..localise import Localiser
from ..signal import find_signal
from ..space import Grid

#: Scans on which no lesion was seen, with the slot that they feed: whatever is marked there counts as false.
LESION_FREE = {
    "sub-dev01_acq-sag_T2w": "T2Sag",
    "sub-dev02_acq-sagcrop_T1w": "T1",
    "sub-dev03_acq-ax_T2starw": "T2starAx",
    "sub-dev05_acq-ax_run-1_T2starw": "T2starAx",
    "sub-dev05_acq-ax_run-2_T2starw": "T2starAx",
    "sub-dev06_acq-ax_run-1_T2starw": "T2starAx",
    "sub-dev07_ses-01_acq-ax_run-1_T2starw": "T2starAx",
    "sub-dev07_ses-02_acq-ax_run-1_T2starw": "T2starAx",
    "sub-dev10_acq-ax_T2starw": "T2starAx",
}
#: The people of these scans in two halves; dev01, dev02 and dev03 are very likely one person.
HALVES = (("dev01", "dev02", "dev03", "dev06"), ("dev05", "dev07", "dev10"))
#: Scans of the same cord, for test and retest.
PAIRS = (
    ("sub-dev05_acq-ax_run-1_T2starw", "sub-dev05_acq-ax_run-2_T2starw"),
    ("sub-dev07_ses-01_acq-ax_run-1_T2starw", "sub-dev07_ses-02_acq-ax_run-1_T2starw"),
)


@dataclass(frozen=True, eq=False)
class Scan:
    """A scan with its cord, as the built-in localiser finds it, and its crop.

    Attributes
    ----------
    volume : array, shape grid.shape
        Signal: 0 where there is none, and where there are no data.
    cord, valid : array of bool, shape grid.shape
        ``valid`` says where there are data.
    crop : Crop
    """

    name: str
    volume: NDArray[np.float32]
    cord: NDArray[np.bool_]
    grid: Grid
    crop: Crop
    valid: NDArray[np.bool_]

    def with_volume(self, volume: NDArray[np.float32]) -> Crop:
        """Return the crop of a changed volume."""
        sampled, _ = resample.to_crop(
            volume, self.grid, self.crop.starts, self.crop.grid, np.eye(4), valid=self.valid
        )
        return replace(self.crop, images=sampled[None])

    def to_crop(self, values: NDArray[np.float32]) -> NDArray[np.float32]:
        """Bring a map on the scan's grid into the crop."""
        return resample.to_crop(values, self.grid, self.crop.starts, self.crop.grid, np.eye(4))[0]


def find(data: Path, stem: str) -> Path:
    """Return the raw file of this name."""
    return next(path for path in data.rglob(f"{stem}.nii.gz") if "derivatives" not in path.parts)


def half_of(stem: str) -> int:
    """Return the number of the half that the person of a scan is in."""
    person = stem.split("_")[0].removeprefix("sub-")
    return next(number for number, half in enumerate(HALVES) if person in half)


def read_scans(data: Path) -> dict[str, Scan]:
    """Read the lesion-free scans."""
    localiser = Localiser(torch.device("cpu"))
    return {stem: read_scan(find(data, stem), sequence, localiser) for stem, sequence in LESION_FREE.items()}


def read_scan(path: Path, sequence: str, localiser: Localiser) -> Scan:
    """Find the cord of a scan and crop around it, as the app does for a participant who has nothing else."""
    volume, grid = images.read_volume(path)
    mask = localiser(volume, grid)
    common = images.common_grid(grid)
    starts = space.crop_starts(cord.crop_centres(mask, grid, common))
    found = find_signal(volume, sequence)
    sampled, coverage = resample.to_crop(found.values, grid, starts, common, np.eye(4), valid=found.valid)
    inside, _ = resample.to_crop(mask.astype(np.float32), grid, starts, common, np.eye(4))
    crop = Crop(sampled[None], coverage[None], inside, starts, common, (sequence,))
    return Scan(path.name.split(".nii")[0], found.values, mask > 0, grid, crop, found.valid)
