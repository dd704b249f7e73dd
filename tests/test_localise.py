from __future__ import annotations

import itertools
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from fakes_cord import make_grid

from bids_app import cord, images, localise, resample, space
from bids_app.candidates import POSSIBLE, best_path, candidates
from bids_app.errors import CordError
from bids_app.localise import BEYOND_MM, Localiser, _follow, averaging, certainty_of
from bids_app.signal import find_signal
from bids_app.simulate.participant import simulate_participant
from bids_app.space import Grid


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


def test_tubes_beside_each_other_are_candidates_of_their_own_and_gaps_are_bridged():
    tubes = np.zeros((30, 20, 40), np.float32)
    tubes[5:8, 9:12, :15] = tubes[5:8, 9:12, 24:] = 0.8
    tubes[20:23, 9:12, 10:30] = 0.95
    tubes[14, 4, 20] = 0.9  # a speck
    tubes[26:29, 2:5] = POSSIBLE / 2
    first, second = candidates(tubes)
    assert np.abs(first.index[[0, -1], 0] - 6).max() < 1
    assert first.index[0, 2] == 0
    assert first.index[-1, 2] == 39
    assert len(first.index) == 40
    assert first.mean == pytest.approx(0.8, abs=0.02)
    assert np.abs(second.index[:, 0] - 21).max() < 1
    assert second.mean == pytest.approx(0.95, abs=0.02)
    assert not candidates(np.zeros((20, 20, 30), np.float32))


def test_certainty_is_that_of_slices_with_a_cord():
    crop = np.zeros((48, 48, 100), np.float32)
    crop[16:32, 18:30, 20:60] = 0.9
    crop[..., 80:90] = 0.99  # far too large
    crop[3, 3, 5] = 0.6  # far too small
    certainty, length = certainty_of(crop)
    assert certainty == pytest.approx(0.9, abs=1e-4)
    assert length == 20
    assert certainty_of(np.zeros_like(crop)) == (0.0, 0.0)


@pytest.mark.parametrize(("left", "right"), [(0.95, 0.3), (0.3, 0.95), (0.3, 0.3)])
def test_the_second_network_decides_between_candidates(monkeypatch, localiser, left, right):
    """Two tubes; the first network prefers the left one a little, the second confirms one of them, or none."""
    grid = Grid((60, 40, 60), np.diag([-1.0, 1.0, 1.0, 1.0]))
    volume = np.random.default_rng(0).uniform(1, 2, grid.shape).astype(np.float32)
    overview = np.zeros((30, 20, 30), np.float32)
    overview[6:9, 9:12], overview[21:24, 9:12] = 0.8, 0.6

    def draw(scan, path_mm):
        starts = space.crop_starts(_follow(scan.common.to_index(path_mm), np.arange(scan.common.shape[2])))
        value = left if starts[:, 0].mean() < 40 else right
        crop = np.zeros((48, 48, scan.common.shape[2]), np.float32)
        crop[18:30, 18:30] = 0.5 + value / 2 if value > 0.5 else value
        return crop, starts

    monkeypatch.setattr(localiser, "_overview_map", lambda values, covered: overview)
    monkeypatch.setattr(localiser, "_draw", draw)
    if max(left, right) < 0.5:
        with pytest.raises(CordError, match="confirmed over 0 mm"):
            localiser(volume, grid)
        return
    found = np.argwhere(localiser(volume, grid))
    assert abs(found[:, 0].mean() - (15 if left > right else 45)) < 3


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


#: All ways to order and to turn the axes of an array.
ORDERS = [
    (axes, flips)
    for axes in itertools.permutations(range(3))
    for flips in itertools.product((1, -1), repeat=3)
]


def stored(volume: np.ndarray, grid: Grid, axes, flips) -> tuple[np.ndarray, Grid]:
    """Store a volume in another order, its affine in single precision, as a file has it."""
    array = volume.transpose(axes)[tuple(slice(None, None, step) for step in flips)]
    affine = np.eye(4)
    affine[:3, :3] = grid.affine[:3, list(axes)] * flips
    first = np.zeros(3)
    for n, step in zip(axes, flips, strict=True):
        first[n] = volume.shape[n] - 1 if step < 0 else 0
    affine[:3, 3] = grid.to_mm(first)
    return np.ascontiguousarray(array), Grid(array.shape, affine.astype(np.float32).astype(float))


def restored(array: np.ndarray, axes, flips) -> np.ndarray:
    return array[tuple(slice(None, None, step) for step in flips)].transpose(np.argsort(axes))


@pytest.fixture
def quick(monkeypatch) -> Localiser:
    """The localiser with networks that only call bright what is bright: all that depends on storage is real."""
    monkeypatch.setattr(
        localise, "_run", lambda _, image, cover, __: 1 / (1 + np.exp(-6 * (image - 1.5))) * (cover > 0)
    )
    made = Localiser.__new__(Localiser)
    made.overview = made.cord = made.device = None
    return made


def rod(spacing, tilt=0.0) -> tuple[np.ndarray, Grid]:
    """A noisy volume with a bright rod that leans."""
    grid = make_grid("RAS", spacing, tilt, extent=(32.0, 36.0, 44.0), centre=(3.3, -41.7, 211.9))
    affine = grid.affine.astype(np.float32).astype(float)
    i, j, k = (
        (np.arange(n) - (n - 1) / 2).reshape([-1 if a == b else 1 for b in range(3)]) * step
        for a, (n, step) in enumerate(zip(grid.shape, spacing, strict=True))
    )
    away = ((i - 0.1 * k) / 5) ** 2 + ((j + 0.07 * k) / 4) ** 2
    volume = 100 + 300 / (1 + np.exp(8 * (away - 1))) + np.random.default_rng(0).normal(0, 10, grid.shape)
    volume[:, :, -4:] = 0  # slices without data
    return np.round(volume).astype(np.float32), Grid(grid.shape, affine)


@pytest.mark.parametrize(
    ("spacing", "tilt"),
    [
        ((0.5, 0.5, 0.5), 0.0),
        ((0.8, 0.8, 0.8), 0.0),
        ((1.0, 1.0, 1.0), 0.0),
        ((0.7, 0.9, 1.3), 11.0),
        ((0.5, 0.5, 3.3), 0.0),
    ],
)
def test_the_order_of_storage_changes_no_bit(quick, spacing, tilt):
    volume, grid = rod(spacing, tilt)
    mask = quick(volume, grid)
    assert mask.any()
    common = images.common_grid(grid)
    starts = space.crop_starts(cord.crop_centres(mask, grid, common))
    valid = find_signal(volume).valid
    crop, covered = resample.to_crop(volume * valid, grid, starts, common, np.eye(4), valid=valid)
    assert 0 < covered.mean() < 1
    back = resample.from_crop(crop, starts, common, grid, np.eye(4))
    for axes, flips in ORDERS:
        array, own = stored(volume, grid, axes, flips)
        found = quick(array, own)
        assert np.array_equal(restored(found, axes, flips), mask), (axes, flips)
        fine = images.common_grid(own)
        assert fine.shape == common.shape
        first = space.crop_starts(cord.crop_centres(found, own, fine))
        assert np.array_equal(first, starts)
        there = find_signal(array)
        sampled, cover = resample.to_crop(there.values, own, first, fine, np.eye(4), valid=there.valid)
        assert np.array_equal(sampled, crop)
        assert np.array_equal(cover, covered)
        native = resample.from_crop(sampled, first, fine, own, np.eye(4))
        assert np.array_equal(restored(native, axes, flips), back)


@pytest.mark.parametrize(
    ("kind", "dtype", "name"),
    [
        (nib.Nifti1Image, np.float32, "a.nii"),
        (nib.Nifti1Image, np.int16, "a.nii.gz"),
        (nib.Nifti2Image, np.int16, "a.nii"),
        (nib.Nifti2Image, np.float32, "a.nii.gz"),
    ],
)
def test_the_kind_of_file_changes_no_bit(quick, tmp_path, kind, dtype, name):
    volume, grid = rod((0.8, 0.8, 0.8))
    want = quick(volume, grid)
    image = kind(volume.astype(dtype), make_grid("RAS", (0.8, 0.8, 0.8), 0.0, (32.0, 36.0, 44.0)).affine)
    nib.save(image, tmp_path / name)
    assert np.array_equal(quick(*images.read_volume(tmp_path / name)), want)


@pytest.mark.parametrize("voxels", [0.4, 1.0, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 7.3])
def test_averaging_has_a_middle_and_the_right_strength(voxels):
    kernel = averaging(voxels)
    assert len(kernel) % 2 == 1
    assert np.array_equal(kernel, kernel[::-1])
    assert kernel.min() >= 0
    offset = np.arange(len(kernel)) - len(kernel) // 2
    assert kernel.sum() == pytest.approx(1)
    assert (kernel * offset**2).sum() == pytest.approx(max(0.0, (voxels**2 - 1) / 12))


@pytest.mark.parametrize("codes", ["RAS", "PSR", "ILP"])
def test_orientation_does_not_matter(localiser, codes):
    scan = simulate_participant(22, ("T2starAx",), half_mm=35)[0]
    volume = np.asarray(scan.image.dataobj, np.float32)
    base = localiser(volume, images.Grid(volume.shape, scan.image.affine))
    change = nib.orientations.ornt_transform(
        nib.orientations.io_orientation(scan.image.affine), nib.orientations.axcodes2ornt(tuple(codes))
    )
    turned = scan.image.as_reoriented(change)
    array = np.asarray(turned.dataobj, np.float32)
    other = localiser(array, images.Grid(array.shape, turned.affine))
    back = nib.Nifti1Image(base, scan.image.affine).as_reoriented(change)
    assert np.array_equal(other, np.asarray(back.dataobj))
