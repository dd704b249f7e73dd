"""The public development scans: who may be learned from, and what each shows, brought into the common space one by one."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from .. import cord, images, resample, space
from ..cutting import Crop
from ..errors import UnitError
from ..localise import Localiser
from ..signal import find_signal
from ..space import Grid

#: People whom no network learns from and on whom nothing is chosen: they are looked at once a finished stage.
TEST_PEOPLE = ("dev06", "dev10", "dev13", "dev15")
#: People on whom checkpoints and operating points are chosen; the lesion network does not learn from them.
CHOICE_PEOPLE = ("dev07", "dev14")
TEST, CHOICE, SEEN = "test people", "used to choose", "seen in training"
#: Very likely one person each.
SAME_PERSON = {"dev02": "dev01", "dev03": "dev01", "dev16": "dev08"}

SAGITTAL, AXIAL, T1W, SHORT = "sagittal T2w", "axial T2*w", "T1w", "T2w of 16 mm"
#: The sequence that a scan of each kind feeds.
SLOT_OF = {SAGITTAL: "T2Sag", AXIAL: "T2starAx", T1W: "T1", SHORT: "T2Sag"}
#: Scans on which no lesion was seen, with their kind: whatever is marked there counts as false.
LESION_FREE = {
    "sub-dev13_acq-sag_T2w": SAGITTAL,
    "sub-dev15_acq-sag_T2w": SAGITTAL,
    "sub-dev06_acq-ax_run-1_T2starw": AXIAL,
    "sub-dev06_acq-ax_run-2_T2starw": AXIAL,
    "sub-dev10_acq-ax_T2starw": AXIAL,
    "sub-dev14_acq-sag_T2w": SAGITTAL,
    "sub-dev07_ses-01_acq-ax_run-1_T2starw": AXIAL,
    "sub-dev07_ses-01_acq-ax_run-2_T2starw": AXIAL,
    "sub-dev07_ses-02_acq-ax_run-1_T2starw": AXIAL,
    "sub-dev07_ses-02_acq-ax_run-2_T2starw": AXIAL,
    "sub-dev01_acq-sag_T2w": SAGITTAL,
    "sub-dev12_acq-sag_T2w": SAGITTAL,
    "sub-dev03_acq-ax_T2starw": AXIAL,
    "sub-dev05_acq-ax_run-1_T2starw": AXIAL,
    "sub-dev05_acq-ax_run-2_T2starw": AXIAL,
    "sub-dev16_acq-1mm_T2starw": AXIAL,
    "sub-dev02_acq-sagcrop_T1w": T1W,
    "sub-dev16_acq-1mm_T1w": T1W,
    "sub-dev16_acq-1mm_T2w": SHORT,
}
#: A scan of the brain: it must be refused.
BRAIN = "sub-dev11_acq-brain_FLAIR"
#: Two runs of one visit, for test and retest.
PAIRS = (
    ("sub-dev06_acq-ax_run-1_T2starw", "sub-dev06_acq-ax_run-2_T2starw"),
    ("sub-dev05_acq-ax_run-1_T2starw", "sub-dev05_acq-ax_run-2_T2starw"),
    ("sub-dev07_ses-01_acq-ax_run-1_T2starw", "sub-dev07_ses-01_acq-ax_run-2_T2starw"),
    ("sub-dev07_ses-02_acq-ax_run-1_T2starw", "sub-dev07_ses-02_acq-ax_run-2_T2starw"),
)


def person_of(stem: str) -> str:
    """Return the participant of a scan."""
    return stem.split("_")[0].removeprefix("sub-")


def group_of(stem: str) -> str:
    """Return the group that the person of a scan is in."""
    person = person_of(stem)
    return TEST if person in TEST_PEOPLE else CHOICE if person in CHOICE_PEOPLE else SEEN


def people_in(stems: Iterable[str]) -> int:
    """Return how many people some scans are of."""
    people = {person_of(stem) for stem in stems}
    return len({SAME_PERSON.get(person, person) for person in people})


@dataclass(frozen=True, eq=False)
class Found:
    """What the localiser makes of a scan: the mask, or why there is none."""

    stem: str
    path: Path
    mask: NDArray[np.uint8] | None
    reason: str = ""


@dataclass(frozen=True, eq=False)
class Scan:
    """A scan with its cord and its crop.

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


def raw_scans(data: Path) -> dict[str, Path]:
    """Return all development scans below a folder by name, masks left out."""
    paths = sorted(data.rglob("sub-dev*.nii.gz"))
    return {
        path.name.removesuffix(".nii.gz"): path
        for path in paths
        if "derivatives" not in path.relative_to(data).parts
    }


def find(data: Path, stem: str) -> Path:
    """Return the raw file of this name."""
    return raw_scans(data)[stem]


def find_cord(path: Path, localiser: Localiser) -> Found:
    """Look for the cord in a scan."""
    stem = path.name.removesuffix(".nii.gz")
    try:
        return Found(stem, path, localiser(*images.read_volume(path)))
    except UnitError as error:
        return Found(stem, path, None, str(error).split("\n", maxsplit=1)[0])


def read_scan(found: Found) -> Scan:
    """Crop around the cord of a lesion-free scan, as the app does for a participant who has nothing else."""
    if found.mask is None:
        raise ValueError(f"no cord was found in {found.stem}")
    volume, grid = images.read_volume(found.path)
    common = images.common_grid(grid)
    sequence = SLOT_OF[LESION_FREE[found.stem]]
    starts = space.crop_starts(cord.crop_centres(found.mask, grid, common))
    signal = find_signal(volume, sequence)
    sampled, coverage = resample.to_crop(signal.values, grid, starts, common, np.eye(4), valid=signal.valid)
    inside, _ = resample.to_crop(found.mask.astype(np.float32), grid, starts, common, np.eye(4))
    crop = Crop(sampled[None], coverage[None], inside, starts, common, (sequence,))
    return Scan(found.stem, signal.values, found.mask > 0, grid, crop, signal.valid)


def open_scans(data: Path, localiser: Localiser) -> Iterator[Scan]:
    """Yield the lesion-free scans that are there and not of test people, where a cord is found."""
    there = raw_scans(data)
    for stem in LESION_FREE:
        if stem in there and group_of(stem) != TEST:
            found = find_cord(there[stem], localiser)
            if found.mask is not None:
                yield read_scan(found)
