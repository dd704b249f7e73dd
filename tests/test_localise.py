from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch

from bids_app import cord, images
from bids_app.candidates import best_path
from bids_app.errors import CordError
from bids_app.localise import BEYOND_MM, Localiser, _follow
from bids_app.simulate.participant import simulate_participant


@pytest.fixture(scope="module")
def localiser() -> Localiser:
    return Localiser(torch.device("cpu"))


def dice(a: np.ndarray, b: np.ndarray) -> float:
    return 2 * float((a & b).sum()) / float(a.sum() + b.sum())


def test_path_follows_a_tube_through_a_gap():
    tube = np.zeros((20, 20, 30), np.float32)
    for k in range(30):
        if k not in (14, 15, 16):
            tube[5 + k // 3 : 8 + k // 3, 9:12, k] = 0.9
    path, along = best_path(tube)
    want = 6 + np.arange(30) // 3
    assert np.abs(path[:, 0] - want).max() < 1.6
    assert np.abs(path[:, 1] - 10).max() < 1.0
    assert along[[0, 10, 25]].min() > 0.8


def test_the_line_goes_straight_on_beyond_its_ends_and_then_stays():
    z = np.arange(60, 141, 4.0)
    points = np.column_stack([20 + 0.5 * z, np.full(len(z), 30.0), z])
    centre = _follow(points, np.arange(200))
    reach = int(BEYOND_MM / 0.5)
    np.testing.assert_allclose(
        centre[60 - reach : 141 + reach, 0], 20 + 0.5 * np.arange(60 - reach, 141 + reach)
    )
    assert centre[0, 0] == centre[60 - reach, 0]
    assert centre[-1, 0] == centre[140 + reach, 0]
    np.testing.assert_allclose(centre[:, 1], 30)


@pytest.mark.parametrize("what", ["noise", "knee"])
def test_what_is_no_cord_is_refused(localiser, what):
    random = np.random.default_rng(0)
    volume = random.normal(100, 20, (64, 64, 40)).astype(np.float32)
    if what == "knee":
        # Two rounded bones with a gap between them in darker tissue.
        i, j, k = np.ogrid[:64, :64, :40]
        volume = random.normal(30, 10, (64, 64, 40)).astype(np.float32)
        for middle, height in ((30, 90), (8, 70)):
            bone = (i - 32) ** 2 / 500 + (j - 32) ** 2 / 600 + (k - middle) ** 2 / height < 1
            volume[bone] += 170
    with pytest.raises(CordError):
        localiser(volume, images.Grid((64, 64, 40), np.diag([1.5, 1.5, 3.0, 1.0])))


def test_simulated_cord_is_found_on_its_own_grid(localiser):
    scan = simulate_participant(21, ("T2Sag",), half_mm=45)[0]
    volume = np.asarray(scan.image.dataobj, np.float32)
    mask = localiser(volume, images.Grid(volume.shape, scan.image.affine))
    assert mask.shape == volume.shape
    assert mask.dtype == np.uint8
    assert dice(mask > 0, np.asarray(scan.cord.dataobj) > 0) > 0.75


@pytest.mark.real
@pytest.mark.parametrize(
    ("participant", "image"),
    [
        ("dev01", "acq-sagcrop_T2w"),
        ("dev05", "acq-ax_run-1_T2starw"),
        ("dev06", "acq-ax_run-1_T2starw"),
        ("dev07/ses-01", "acq-ax_run-1_T2starw"),
    ],
)
def test_real_cords_are_found(localiser, real_data: Path, participant, image):
    stem = f"sub-{participant.replace('/', '_')}_{image}"
    volume, grid = images.read_volume(real_data / f"sub-{participant}" / "anat" / f"{stem}.nii.gz")
    truth, _ = images.read_mask(
        real_data / f"derivatives/labels/sub-{participant}/anat/{stem}_label-SC_seg.nii.gz"
    )
    assert dice(localiser(volume, grid) > 0, truth) > 0.8


@pytest.mark.real
def test_a_real_brain_is_refused(localiser, real_data: Path):
    volume, grid = images.read_volume(real_data / "sub-dev11/anat/sub-dev11_acq-brain_FLAIR.nii.gz")
    with pytest.raises(CordError):
        localiser(volume, grid)


@pytest.mark.real
def test_a_real_scan_stored_upside_down_is_noticed(localiser, real_data: Path):
    volume, grid = images.read_volume(real_data / "sub-dev01/anat/sub-dev01_acq-sag_T2w.nii.gz")
    mask = localiser(volume, grid)
    assert cord.doubt(mask, grid) == ""
    over = images.Grid(grid.shape, np.diag([1.0, 1.0, -1.0, 1.0]) @ grid.affine)
    assert "wrong about what is up" in cord.doubt(mask, over)


def test_orientation_does_not_matter(localiser):
    scan = simulate_participant(22, ("T2starAx",), half_mm=35)[0]
    volume = np.asarray(scan.image.dataobj, np.float32)
    base = localiser(volume, images.Grid(volume.shape, scan.image.affine))
    turned = nib.as_closest_canonical(scan.image)
    array = np.asarray(turned.dataobj, np.float32)
    other = localiser(array, images.Grid(array.shape, turned.affine))
    back = nib.as_closest_canonical(nib.Nifti1Image(base, scan.image.affine))
    assert dice(other > 0, np.asarray(back.dataobj) > 0) > 0.97
