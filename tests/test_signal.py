"""Where an image has data and what its zero is, with images of every odd kind made from one simulated scan."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from fakes_cord import save

from bids_app import cord, images, resample, space
from bids_app.cutting import Crop
from bids_app.errors import BadImageError, CordError
from bids_app.localise import Localiser
from bids_app.segment import Segmenter
from bids_app.signal import find_signal, read_signal
from bids_app.space import Grid


@pytest.fixture(scope="module")
def scan() -> np.ndarray:
    """Air with noise, a body, and in it a bright rod: integers of a magnitude image."""
    random = np.random.default_rng(0)
    i, j, k = np.ogrid[:40, :48, :56]
    body = ((i - 20) / 14) ** 2 + ((j - 24) / 18) ** 2 < 1
    level = (
        np.where(body, 300.0, 0.0) + np.where(((i - 20) / 4) ** 2 + ((j - 24) / 4) ** 2 < 1, 500.0, 0) + 0 * k
    )
    noisy = np.hypot(level + random.normal(0, 8, level.shape), random.normal(0, 8, level.shape))
    return np.round(noisy).astype(np.float32)


def test_an_ordinary_image_is_left_alone(scan):
    found = find_signal(scan)
    assert found.valid.all()
    assert np.array_equal(found.values, scan)
    assert (found.zero, found.notes) == (0.0, ())
    assert np.array_equal(find_signal(scan + 0.25).values, scan + np.float32(0.25))


@pytest.mark.parametrize("value", [0.0, -1024.0, -32768.0, 17.0, np.nan])
@pytest.mark.parametrize("axes", [(0,), (2,), (0, 1, 2)])
def test_padding_is_no_data_and_told(scan, value, axes):
    widths = [(10, 10) if axis in axes else (0, 0) for axis in range(3)]
    padded = np.pad(scan, widths, constant_values=value)
    inner = tuple(slice(a, n - b) for (a, b), n in zip(widths, padded.shape, strict=True))
    found = find_signal(padded)
    assert found.zero == 0
    # Noise of the very same value that touches the padding may go with it.
    data = found.valid[inner]
    assert data.mean() > 0.999
    assert np.array_equal(found.values[inner][data], scan[data])
    outside = np.ones(padded.shape, bool)
    outside[inner] = False
    assert not found.valid[outside].any()
    assert not found.values[outside].any()
    assert len(found.notes) == 1
    assert f"{100 * outside.mean():.2g} %" in found.notes[0]


def test_stitched_black_masks_and_black_slices_are_no_data(scan):
    stitched = scan.copy()
    stitched[:, 30:, 40:] = 0
    assert not find_signal(stitched).valid[:, 31:, 41:].any()
    assert find_signal(stitched).valid[:, :30, :].all()
    black = scan.copy()
    black[..., 20:24] = 0
    found = find_signal(black)
    assert np.array_equal(np.flatnonzero(~found.valid.any(axis=(0, 1))), [20, 21, 22, 23])
    assert found.valid[..., :20].all()
    assert any("7.1 %" in note for note in found.notes)


def test_constant_regions_of_tissue_are_data(scan):
    clipped = np.minimum(scan, 400)  # the rod reaches two faces and is one value
    assert find_signal(clipped).valid.all()
    flat = scan.copy()
    flat[17:24, 21:28] = 310  # one value from face to face, neither the lowest nor the highest
    assert find_signal(flat).valid.all()
    inside = scan.copy()
    inside[15:25, 15:30, 20:40] = 0
    assert find_signal(inside).valid.all()
    scattered = scan.copy()
    scattered[np.random.default_rng(1).random(scan.shape) < 0.2] = 0
    assert find_signal(scattered).valid.mean() > 0.999


def test_a_drawing_without_noise_keeps_what_is_drawn():
    i, j, k = np.ogrid[:20, :44, :48]
    away = np.hypot(i - 9.5, j - 21.5) + 0 * k
    drawing = np.where(away < 6, 200.0, np.where(away < 9, 400.0, 100.0)).astype(np.float32)
    assert find_signal(drawing).valid[away < 9].all()


def test_stray_voxels_do_not_move_the_zero(scan):
    for factor in (-1, -2, -100):
        stray = scan.copy()
        stray[20, 34, 28] = factor * 800
        assert find_signal(stray).zero == 0
    noise = scan + np.random.default_rng(2).normal(0, 10, scan.shape).astype(np.float32) - 9
    assert (noise < 0).mean() > 0.05
    assert find_signal(noise).zero == 0


@pytest.mark.parametrize("offset", [32768.0, -32768.0])
def test_unsigned_numbers_read_as_signed_are_put_right(scan, offset):
    found = find_signal(scan + np.float32(offset))
    assert found.zero == offset
    assert np.array_equal(found.values, scan)
    assert f"shifted by {offset:.0f}" in found.notes[0]


def test_an_overflow_is_put_right(scan):
    large = scan * 45
    assert large.max() > 32767
    over = np.where(large > 32767, large - 65536, large)
    found = find_signal(over)
    assert np.array_equal(found.values, large)
    assert "overflow" in found.notes[0]
    # Numbers that use both ends of the range and are what they are stay so.
    signed = np.round(np.random.default_rng(3).uniform(-30000, 30000, scan.shape)).astype(np.float32)
    assert not any("overflow" in note for note in find_signal(signed).notes)


def test_a_shifted_zero_is_found_from_many_voxels(scan):
    for shifted in (scan - 100, (scan - scan.mean()) / scan.std(), scan + 5000):
        found = find_signal(shifted.astype(np.float32))
        ratio = np.median(found.values[20, 24]) / np.median(found.values[10, 24])
        assert ratio == pytest.approx(np.median(scan[20, 24]) / np.median(scan[10, 24]), rel=0.03)
        assert "was taken for no signal" in found.notes[0]


def test_the_three_encodings_of_a_uniform_image_are_one():
    uniform = np.round(np.random.default_rng(4).uniform(0, 4095, (30, 32, 34)))
    uniform[5:20, 5:20] = 3000
    kinds = [uniform, uniform / 4095 - 0.5, 2 * uniform - 4095]
    found = [find_signal(kind.astype(np.float32), "MP2RAGE") for kind in kinds]
    assert [one.zero for one in found] == [0, -0.5, -4095]
    for one, scale in zip(found, (1.0, 1 / 4095, 2.0), strict=True):
        np.testing.assert_allclose(one.values / scale, uniform, atol=1e-3)
        assert one.notes == ()


def test_voxels_that_are_no_numbers_are_told(scan):
    broken = scan.copy()
    broken[:10, :10, :10] = np.nan
    broken[20, 20, 20] = np.inf
    found = find_signal(broken)
    assert not found.valid[:10, :10, :10].any()
    assert not found.valid[20, 20, 20]
    assert found.valid.sum() == scan.size - 1001
    assert np.isfinite(found.values).all()
    assert "0.93 % of the image are no numbers" in found.notes[0]


def test_a_file_with_hardly_any_data_is_refused(tmp_path, scan):
    grid = Grid((80, 80, 80), np.eye(4))
    hollow = np.zeros(grid.shape, np.float32)
    hollow[40:50, 40:50, 40:50] = scan[:10, :10, :10]
    with pytest.raises(BadImageError, match=r"0\.2 % of its voxels hold data"):
        read_signal(save(tmp_path / "a.nii.gz", hollow, grid))


def test_the_result_does_not_depend_on_the_order_of_the_axes(scan):
    odd = np.pad(scan, ((6, 0), (0, 0), (3, 8)))
    odd[5:10, :12, :12] = -3
    here = find_signal(odd)
    there = find_signal(np.ascontiguousarray(odd.transpose(2, 0, 1)[::-1, :, ::-1]))
    assert np.array_equal(there.valid[::-1, :, ::-1].transpose(1, 2, 0), here.valid)
    assert there.zero == here.zero
    assert there.notes == here.notes


# From here on: what becomes of cord and lesions of a real scan.


@pytest.fixture(scope="module")
def networks() -> tuple[Localiser, Segmenter]:
    return Localiser(torch.device("cpu")), Segmenter(torch.device("cpu"))


@pytest.fixture(scope="module")
def dev01(real_data: Path) -> tuple[np.ndarray, Grid]:
    return images.read_volume(real_data / "sub-dev01/anat/sub-dev01_acq-sag_T2w.nii.gz")


def outcome(networks, volume, grid, sequence="T2Sag", mask=None):
    """Cord length in mm, lesions and their volume in mm3, and the cord mask."""
    localiser, segmenter = networks
    mask = localiser(volume, grid) if mask is None else mask
    common = images.common_grid(grid)
    starts = space.crop_starts(cord.crop_centres(mask, grid, common))
    found = find_signal(volume, sequence)
    image, covered = resample.to_crop(found.values, grid, starts, common, np.eye(4), valid=found.valid)
    inside, _ = resample.to_crop(mask.astype(np.float32), grid, starts, common, np.eye(4))
    crop = Crop(image[None], covered[None], inside, starts, common, (sequence,))
    lesions = segmenter.find(crop)[2]
    length = 0.5 * float((inside >= 0.5).any(axis=(0, 1)).sum())
    return length, len(lesions), sum(lesion.volume_mm3 for lesion in lesions), mask


@pytest.fixture(scope="module")
def as_is(networks, dev01):
    found = outcome(networks, *dev01)
    assert found[0] > 190
    assert found[1] == 1
    return found


def padded(volume, grid, mm, value=0.0, axes=(0, 1, 2)):
    counts = [round(mm / step) if axis in axes else 0 for axis, step in enumerate(grid.spacing_mm)]
    affine = grid.affine.copy()
    affine[:3, 3] = grid.to_mm(-np.array(counts, float))
    result = np.pad(volume, [(n, n) for n in counts], constant_values=value)
    return (
        result,
        Grid(result.shape, affine),
        tuple(slice(n, m - n) for n, m in zip(counts, result.shape, strict=True)),
    )


@pytest.mark.real
@pytest.mark.parametrize(
    ("mm", "value", "axes"), [(30, 0, (0, 1, 2)), (30, -1024, (0, 1, 2)), (50, 0, (0, 1, 2)), (25, 0, (2,))]
)
def test_padding_changes_nothing_of_a_real_cord(networks, dev01, as_is, mm, value, axes):
    volume, grid, inner = padded(*dev01, mm, value, axes)
    length, count, volume_mm3, mask = outcome(networks, volume, grid)
    both = (mask[inner] > 0) & (as_is[3] > 0)
    assert both.sum() / max(mask.sum(), as_is[3].sum()) > 0.998
    assert length == pytest.approx(as_is[0], abs=2)
    assert count == 1
    assert volume_mm3 == pytest.approx(as_is[2], rel=0.15)


@pytest.mark.real
@pytest.mark.parametrize("gap", [15, 30])
def test_both_pieces_of_a_cord_beyond_black_slices_are_kept(networks, dev01, as_is, gap):
    volume, grid = dev01
    black = volume.copy()
    black[:, 90 : 90 + gap] = 0
    _, _, _, mask = outcome(networks, black, grid)
    lost = (as_is[3] > 0) & ~(mask > 0)
    lost[:, 88 : 92 + gap] = False
    assert lost.sum() < 0.01 * (as_is[3] > 0).sum()
    assert not mask[:, 92 : 88 + gap].any()


@pytest.mark.real
def test_a_void_beside_the_spine_leaves_the_cord_on_both_sides(networks, dev01, as_is):
    volume, grid = dev01
    inside = np.argwhere(as_is[3] > 0)
    middle = inside[len(inside) // 2]
    void = volume.copy()
    void[((np.indices(volume.shape) - middle[:, None, None, None]) ** 2).sum(axis=0) < 18**2] = 3
    _, _, _, mask = outcome(networks, void, grid)
    levels = (mask > 0).any(axis=(0, 2)).sum()
    assert levels > (as_is[3] > 0).any(axis=(0, 2)).sum() - 37


@pytest.mark.real
def test_a_cord_that_curves_by_28_degrees_is_followed(networks, dev01, as_is):
    volume, grid = dev01
    length = 120.0
    height = np.arange(volume.shape[1]) * grid.spacing_mm[1]
    amplitude = np.tan(np.radians(28)) * length / (2 * np.pi)
    shift = np.round(amplitude * np.sin(2 * np.pi * height / length) / grid.spacing_mm[0]).astype(int)
    curved, truth = (
        np.stack([np.roll(array[:, k], n, axis=0) for k, n in enumerate(shift)], axis=1)
        for array in (volume, as_is[3] > 0)
    )
    mask = networks[0](curved, grid) > 0
    assert mask.any(axis=(0, 2)).sum() >= 0.95 * truth.any(axis=(0, 2)).sum()
    assert 2 * (mask & truth).sum() / (mask.sum() + truth.sum()) > 0.93


@pytest.mark.real
def test_a_strip_without_data_costs_what_it_covers(networks, dev01, as_is):
    volume, grid = dev01
    striped = volume.copy()
    striped[:, :12] = -32768
    length, count, volume_mm3, _ = outcome(networks, striped, grid)
    assert length > as_is[0] - 14
    assert count == 1
    assert volume_mm3 == pytest.approx(as_is[2], rel=0.15)


@pytest.mark.real
@pytest.mark.parametrize("factor", [-1, -2])
def test_one_voxel_beside_the_cord_changes_no_lesion(networks, dev01, as_is, factor):
    volume, grid = dev01
    inside = np.argwhere(as_is[3] > 0)
    at = inside[len(inside) // 2] + (0, 8, 0)
    stray = volume.copy()
    stray[tuple(at)] = factor * np.median(volume[as_is[3] > 0])
    _, count, volume_mm3, _ = outcome(networks, stray, grid)
    assert count == 1
    assert volume_mm3 == pytest.approx(as_is[2], rel=0.05)


@pytest.mark.real
def test_encodings_of_one_scan_have_the_same_lesions(networks, dev01, as_is):
    volume, grid = dev01
    uniform = np.round(4095 * np.clip(volume / np.percentile(volume, 99.9), 0, 1)).astype(np.float32)
    mask = as_is[3]
    results = [
        outcome(networks, kind.astype(np.float32), grid, "MP2RAGE", mask)
        for kind in (uniform, uniform / 4095 - 0.5, 2 * uniform - 4095)
    ]
    for other in results[1:]:
        assert other[1] == results[0][1]
        assert other[2] == pytest.approx(results[0][2], abs=0.5)
    shifted = outcome(networks, volume + 32768, grid, mask=mask)
    assert shifted[1:3] == as_is[1:3]


@pytest.mark.real
def test_no_numbers_in_the_background_cost_nothing(networks, dev01, as_is):
    volume, grid = dev01
    broken = volume.copy()
    broken[:30, :60, :10] = np.nan
    # Windows are normalised by what they hold: their numbers change a little.
    mask = outcome(networks, broken, grid)[3] > 0
    assert (mask & (as_is[3] > 0)).sum() / max(mask.sum(), as_is[3].sum()) > 0.998


def test_an_image_without_data_has_no_cord(networks):
    with pytest.raises(CordError):
        networks[0](np.zeros((20, 20, 20), np.float32), Grid((20, 20, 20), np.eye(4)))
