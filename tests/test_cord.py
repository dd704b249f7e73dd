"""The cord as a mask: tidying, plausibility, centreline."""

from __future__ import annotations

import re

import nibabel as nib
import numpy as np
import pytest
from fakes_cord import GRIDS, centre_at, cord_mask, make_grid, points_of

from bids_app import cord
from bids_app.errors import CordError
from bids_app.images import common_grid, read_grid
from bids_app.space import Grid


def off_centre(points):
    """Distance of points from the true course of the cord at their z."""
    return np.linalg.norm(points[:, :2] - centre_at(points[:, 2]), axis=1)


def tube(grid, area_mm2, shift_mm=0.0, z_range=(-100.0, 100.0)):
    """Round straight mask on an upright RAS grid."""
    x, y, z = np.moveaxis(
        grid.to_mm(np.stack(np.meshgrid(*map(np.arange, grid.shape), indexing="ij"), -1).astype(float)), -1, 0
    )
    inside = (x - shift_mm) ** 2 + y**2 <= area_mm2 / np.pi
    return inside & (z >= z_range[0]) & (z <= z_range[1])


@pytest.mark.parametrize(("codes", "spacing", "tilt"), GRIDS)
def test_centreline_follows_the_cord_in_every_orientation(codes, spacing, tilt):
    grid = make_grid(codes, spacing, tilt)
    mask = cord_mask(grid)
    cord.check_cord(cord.clean_mask(mask, grid), grid)
    line = cord.centreline_mm(mask, grid)
    assert np.all(np.diff(line[:, 2]) > 0)
    assert np.median(off_centre(line)) < 0.4
    # At the ends a tilted grid cuts the cord off at one side: there the centre may lie off.
    inner = np.abs(line[:, 2]) < 35
    assert off_centre(line[inner]).max() < 0.9


@pytest.mark.parametrize(("codes", "spacing", "tilt"), GRIDS)
def test_crop_centres_follow_the_cord_in_the_common_grid(codes, spacing, tilt):
    grid = make_grid(codes, spacing, tilt)
    common = common_grid(grid)
    centres = cord.crop_centres(cord_mask(grid), grid, common)
    assert centres.shape == (common.shape[2], 2)
    points = common.to_mm(np.column_stack([centres, np.arange(common.shape[2])]))
    inner = np.abs(points[:, 2]) < 35
    assert off_centre(points[inner]).max() < 0.9
    assert np.abs(np.diff(centres, axis=0)).max() < 0.6


def test_mask_on_another_grid_gives_the_same_course():
    reference, other = make_grid("LAS", (0.5, 0.5, 2.0)), make_grid("PSR", (0.8, 0.8, 2.4), 10.0)
    common = common_grid(reference)
    own = cord.crop_centres(cord_mask(reference), reference, common)
    foreign = cord.crop_centres(cord_mask(other), other, common)
    middle = slice(20, -20)
    assert np.abs(own[middle] - foreign[middle]).max() * 0.5 < 0.9


def test_thick_slices_do_not_drift():
    grid = make_grid("LAS", (0.5, 0.5, 7.5))
    common = common_grid(grid)
    centres = cord.crop_centres(cord_mask(grid), grid, common)
    points = common.to_mm(np.column_stack([centres, np.arange(len(centres))]))
    assert off_centre(points[15:-15]).max() < 0.5


def test_beyond_the_mask_the_direction_is_held_for_10_mm_and_then_the_place():
    grid = make_grid("RAS", (1.0, 1.0, 1.0), extent=(60, 60, 120))
    z = np.arange(grid.shape[2]) - 59.5
    mask = np.zeros(grid.shape, bool)
    for k in np.flatnonzero(np.abs(z) < 20):
        x = round(30 + 0.5 * z[k])
        mask[x - 4 : x + 4, 26:34, k] = True
    common = common_grid(grid)
    x = common.to_mm(np.column_stack([cord.crop_centres(mask, grid, common), np.arange(common.shape[2])]))[
        :, 0
    ]
    top = common.to_mm(np.array([[0, 0, k] for k in range(common.shape[2])], float))[:, 2]
    end = x[np.abs(top - 20).argmin()]
    assert x[np.abs(top - 28).argmin()] - end == pytest.approx(4.0, abs=0.6)
    assert x[-1] - end == pytest.approx(5.0, abs=0.7)
    assert np.ptp(x[top > 31]) == 0


def test_empty_mask_has_no_centreline():
    grid = make_grid()
    empty = np.zeros(grid.shape, bool)
    assert cord.centreline_mm(empty, grid).shape == (0, 3)
    assert not cord.clean_mask(empty, grid).any()
    with pytest.raises(CordError, match="empty"):
        cord.crop_centres(empty, grid, common_grid(grid))


def test_blobs_beside_the_cord_are_removed():
    grid = make_grid("PSR", (1.0, 1.0, 2.0))
    true = cord_mask(grid)
    dirty = true.copy()
    dirty[2:8, 20:26, 2:5] = True
    dirty[-3, -3, -3] = True
    assert np.array_equal(cord.clean_mask(dirty, grid), true)


@pytest.mark.parametrize("codes", ["RAS", "LPS"])
def test_pieces_that_line_up_are_kept(codes):
    grid = make_grid(codes, (0.8, 0.8, 4.0))
    true = cord_mask(grid)
    for gap in ([5], [5, 6, 7], [4, 10, 11, 17]):
        broken = true.copy()
        broken[:, :, gap] = False
        dirty = broken.copy()
        dirty[2:8, 2:8, gap[0]] = True
        assert np.array_equal(cord.clean_mask(dirty, grid), broken)


def test_many_specks_stay_cheap_and_do_no_harm():
    grid = make_grid("RAS", (0.8, 0.8, 0.8))
    true = cord_mask(grid)
    dirty = true | (np.random.default_rng(0).random(grid.shape) > 0.999)
    kept = cord.clean_mask(dirty, grid)
    assert (kept & true).sum() == true.sum()
    assert kept.sum() < true.sum() * 1.02


def test_each_check_refuses_and_names_its_figure():
    grid = make_grid("RAS", (1.0, 1.0, 2.0), extent=(60, 60, 100))
    good = tube(grid, 70)
    cord.check_cord(good, grid, "x.nii.gz")
    bulge, jump = good.copy(), tube(grid, 30)
    bulge |= tube(grid, 260, z_range=(10, 14))
    jump |= tube(grid, 150, z_range=(10, 12))
    step = tube(grid, 70, z_range=(-100, 0)) | tube(grid, 70, 9.0, z_range=(0.1, 100))
    faults = {
        "empty": np.zeros(grid.shape, bool),
        "length check": tube(grid, 70, z_range=(0, 15)),
        "area check: 8 to 200": tube(grid, 900),
        "median cross-section would be 4 mm2": tube(grid, 4),
        "largest cross-section": bulge,
        "area jump check": jump,
        "centreline check": step,
        "field of view check": tube(grid, 60, 28.5),
    }
    for words, mask in faults.items():
        with pytest.raises(CordError) as caught:
            cord.check_cord(mask, grid, "x.nii.gz")
        assert words in caught.value.message
        assert "x.nii.gz" in caught.value.message
        assert caught.value.next_step


def test_a_mask_that_fills_the_image_is_no_cord():
    grid = make_grid("RAS", (1.0, 1.0, 2.0), extent=(22, 22, 100))
    with pytest.raises(CordError, match="share check: at most 25%"):
        cord.check_cord(tube(grid, 180), grid)
    cord.check_cord(tube(grid, 70), grid)


def test_short_images_need_most_of_their_length():
    grid = make_grid("LAS", (0.5, 0.5, 3.0), extent=(40, 40, 18))
    cord.check_cord(tube(grid, 70), grid)
    with pytest.raises(CordError, match="length"):
        cord.check_cord(tube(grid, 70, z_range=(2, 100)), grid)


def test_ragged_ends_are_no_fault():
    grid = make_grid("RAS", (0.8, 0.8, 0.8))
    mask = cord_mask(grid)
    mask[:, :, :4] = False
    mask[:, :, -4:] = False
    filled = np.argwhere(mask[:, :, 4])
    mask[(*filled[0], 3)] = True
    mask[(*filled[-1], 3)] = True
    cord.check_cord(mask, grid)


def test_a_tilted_cut_does_not_enlarge_the_cross_section():
    # 45 degrees: the cut measures 1.41 times the cord.
    grid = make_grid("LAS", (0.5, 0.5, 3.0), 45.0, extent=(50, 80, 60))
    points = grid.to_mm(np.argwhere(np.ones(grid.shape, bool)).astype(float)).reshape(*grid.shape, 3)
    mask = np.linalg.norm(points[..., :2], axis=-1) <= np.sqrt(160 / np.pi)
    cord.check_cord(mask, grid)


def test_result_does_not_depend_on_a_flip():
    grid = make_grid("RAS", (1.0, 1.0, 2.0))
    mask = cord_mask(grid)
    affine = grid.affine.copy()
    affine[:3, 3] = grid.to_mm(np.array([grid.shape[0] - 1, 0, grid.shape[2] - 1.0]))
    affine[:3, 0] *= -1
    affine[:3, 2] *= -1
    flipped = Grid(grid.shape, affine)
    assert np.allclose(cord.centreline_mm(mask, grid), cord.centreline_mm(mask[::-1, :, ::-1], flipped))


@pytest.mark.real
def test_real_masks_pass_and_a_brain_does_not(real_data):
    found = sorted(real_data.glob("derivatives/labels/**/*label-SC_seg.nii.gz"))
    assert len(found) >= 7
    for path in found:
        grid = read_grid(path)
        mask = np.asarray(nib.load(path).dataobj) > 0
        kept = cord.clean_mask(mask, grid)
        cord.check_cord(kept, grid, path.name)
        assert kept.sum() >= 0.99 * mask.sum()
    brain = next(real_data.glob("sub-dev11/anat/*.nii.gz"))
    grid = read_grid(brain)
    values = np.asarray(nib.load(brain).dataobj)
    with pytest.raises(CordError, match="area"):
        cord.check_cord(cord.clean_mask(values > np.percentile(values, 80), grid), grid, brain.name)


@pytest.mark.parametrize("codes", ["RAS", "PSR", "LPI"])
@pytest.mark.parametrize(
    ("upper", "lower", "doubtful"), [(6.0, 4.5, False), (4.5, 5.2, False), (4.0, 6.0, True)]
)
def test_a_cord_that_widens_downwards_casts_doubt_on_the_header(codes, upper, lower, doubtful):
    grid = make_grid(codes, (1.0, 1.0, 1.0), extent=(40.0, 40.0, 160.0))
    points = points_of(grid)[..., 0, :]
    radius = np.interp(points[..., 2], (-30, 30), (lower, upper))
    mask = np.hypot(points[..., 0], points[..., 1]) <= radius
    text = cord.doubt(mask, grid)
    assert bool(text) == doubtful
    if doubtful:
        assert re.search(r"11\d mm2 in its lower third and 5\d mm2 in its upper third", text)


def test_a_short_cord_tells_nothing_about_up_and_down():
    grid = make_grid(extent=(40.0, 40.0, 80.0))
    points = points_of(grid)[..., 0, :]
    mask = np.hypot(points[..., 0], points[..., 1]) <= np.interp(points[..., 2], (-10, 10), (6.0, 4.0))
    assert cord.doubt(mask, grid) == ""
