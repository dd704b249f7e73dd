"""Rigid alignment: it finds known motion, stays within its limits, and never makes a header worse."""

from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest
from fakes_cord import centre_at, cord_mask, make_grid, rigid, save, scan

from bids_app import cord
from bids_app.centreline import distance_mm
from bids_app.images import read_grid
from bids_app.preprocess import align
from bids_app.space import Grid

REFERENCE = ("PSR", (0.9, 0.9, 3.0), 0.0)


def neck_grid(codes, spacing, tilt=0.0, centre=(0.0, 0.0, 0.0)):
    """A grid that is just large enough."""
    return make_grid(codes, spacing, tilt, (40.0, 44.0, 76.0), centre)


@pytest.fixture(scope="module")
def reference(tmp_path_factory):
    folder = tmp_path_factory.mktemp("reference")
    grid = neck_grid(*REFERENCE)
    return save(folder / "t2.nii.gz", scan(grid), grid), save(
        folder / "t2_cord.nii.gz", cord_mask(grid), grid
    )


def moved_pair(folder, grid, contrast, move, seed=1):
    """Write an image whose header is wrong by ``move``: its points are moved neck points."""
    volume, mask = scan(grid, contrast, seed), cord_mask(grid)
    wrong = Grid(grid.shape, move @ grid.affine)
    return save(folder / "moved.nii.gz", volume, wrong), save(folder / "moved_cord.nii.gz", mask, wrong)


def error_mm(found, move):
    """In-plane and S-I error along the cord, mm."""
    line = np.array([[0.0, 2.0, z] for z in np.linspace(-30, 30, 7)])
    gap = (line @ found[:3, :3].T + found[:3, 3]) - (line @ move[:3, :3].T + move[:3, 3])
    return np.linalg.norm(gap[:, :2], axis=1).mean(), np.abs(gap[:, 2]).mean()


SMALL, LARGE = rigid(3, [1, 1, 0], [2, -2, 1]), rigid(7, [1, 0.3, 0.3], [-4, 4, -2])


@pytest.mark.parametrize(
    ("codes", "spacing", "tilt", "move", "limit_mm"),
    [
        ("RAS", (1.0, 1.0, 1.0), 0.0, SMALL, 0.3),
        ("PSR", (0.9, 0.9, 3.0), 10.0, LARGE, 0.3),
        ("LPS", (0.6, 0.6, 3.0), -15.0, SMALL, 0.3),
        ("LAS", (0.5, 0.5, 7.5), 0.0, LARGE, 0.3),
    ],
)
def test_known_motion_is_found(tmp_path, reference, codes, spacing, tilt, move, limit_mm):
    image, mask = moved_pair(tmp_path, neck_grid(codes, spacing, tilt), "T1", move)
    found = align.align(image, mask, *reference)
    assert found.method == "rigid"
    in_plane, along = error_mm(found.transform, move)
    assert in_plane < limit_mm
    assert along < 1.0
    assert np.allclose(found.transform[:3, :3] @ found.transform[:3, :3].T, np.eye(3), atol=1e-6)


def test_equal_input_gives_equal_bytes(tmp_path, reference):
    image, mask = moved_pair(
        tmp_path, neck_grid("LAS", (0.6, 0.6, 5.0)), "T1", rigid(2, [0, 0, 1], [1, 1, 0])
    )
    first, second = (align.align(image, mask, *reference) for _ in range(2))
    assert first.transform.tobytes() == second.transform.tobytes()
    assert first.reason == second.reason


def test_a_right_header_is_left_nearly_alone(tmp_path, reference):
    image, mask = moved_pair(tmp_path, neck_grid("RAS", (1.0, 1.0, 1.0)), "T1", np.eye(4))
    in_plane, along = error_mm(align.align(image, mask, *reference).transform, np.eye(4))
    assert in_plane < 0.3
    assert along < 0.5


def test_identical_grids_are_aligned_too(tmp_path, reference):
    grid = neck_grid(*REFERENCE)
    truth = rigid(0, [0, 0, 1], [1.5, -1.0, 0.5])
    # The neck moved between two scans with one and the same grid.
    image = save(tmp_path / "b.nii.gz", scan(grid, "T2", 5, move=np.linalg.inv(truth)), grid)
    points = grid.to_mm(np.argwhere(np.ones(grid.shape, bool)).astype(float)) - truth[:3, 3]
    away = (points[:, :2] - centre_at(points[:, 2])) / (6.0, 4.5)
    mask = save(tmp_path / "b_cord.nii.gz", ((away**2).sum(1) <= 1).reshape(grid.shape), grid)
    found = align.align(image, mask, *reference)
    assert found.method == "rigid"
    assert error_mm(found.transform, truth)[0] < 0.4


def test_it_never_slides_far_along_the_cord(tmp_path, reference):
    image, mask = moved_pair(
        tmp_path, neck_grid("RAS", (1.0, 1.0, 1.0)), "T2", rigid(0, [0, 0, 1], [0, 0, 12])
    )
    found = align.align(image, mask, *reference)
    middle = np.array([0.0, 2.0, 0.0])
    assert (
        abs((found.transform[:3, :3] @ middle + found.transform[:3, 3] - middle)[2])
        <= align.MAX_SHIFT_ALONG_MM + 0.5
    )
    assert found.method in ("rigid", "header")


def test_noise_keeps_its_header_with_a_reason(tmp_path, reference):
    grid = neck_grid("LAS", (0.6, 0.6, 5.0))
    noise = np.random.default_rng(0).normal(100, 10, grid.shape).astype(np.float32)
    image = save(tmp_path / "noise.nii.gz", noise, grid)
    mask = save(tmp_path / "noise_cord.nii.gz", cord_mask(grid), grid)
    found = align.align(image, mask, *reference)
    apart = distance_mm(
        cord.centreline_mm(cord_mask(neck_grid(*REFERENCE)), neck_grid(*REFERENCE)),
        cord.centreline_mm(cord_mask(grid), grid),
        found.transform,
    )
    assert apart < 0.7
    assert found.method != "header" or np.array_equal(found.transform, np.eye(4))


def test_a_fit_that_leaves_the_cord_is_refused(tmp_path, reference, monkeypatch):
    image, mask = moved_pair(tmp_path, neck_grid("RAS", (1.0, 1.0, 1.0)), "T1", np.eye(4))
    away = rigid(0, [0, 0, 1], [3, 0, 0])
    monkeypatch.setattr(align._Problem, "solve", lambda self: away)
    monkeypatch.setattr(align._Problem, "information", lambda self, transforms: [0.1, 0.9])
    found = align.align(image, mask, *reference)
    assert found.method == "header"
    assert "no better than the header" in found.reason
    assert np.array_equal(found.transform, np.eye(4))
    monkeypatch.setattr(align._Problem, "solve", lambda self: np.eye(4))
    monkeypatch.setattr(align._Problem, "information", lambda self, transforms: [0.9, 0.1])
    assert align.align(image, mask, *reference).method == "header"
    monkeypatch.setattr(align._Problem, "solve", lambda self: None)
    assert "7 mm along the cord" in align.align(image, mask, *reference).reason


def test_images_without_shared_cord_keep_the_header(tmp_path, reference):
    grid = neck_grid("RAS", (1.0, 1.0, 1.0), centre=(0, 0, 72.0))
    image = save(tmp_path / "up.nii.gz", scan(grid), grid)
    mask = save(tmp_path / "up_cord.nii.gz", cord_mask(grid), grid)
    found = align.align(image, mask, *reference)
    assert found.method == "header"
    assert "share only" in found.reason


def test_the_reference_is_its_own_identity(tmp_path):
    found = align.identity(tmp_path / "x.nii.gz")
    assert found.method == "identity"
    assert np.array_equal(found.transform, np.eye(4))


def _real_pairs(folder, work):
    """Pairs of one person in one visit, the reference first: image, mask, image, mask."""
    labels = folder / "derivatives" / "labels"
    whole = folder / "sub-dev01/anat/sub-dev01_acq-sag_T2w.nii.gz"
    part = nib.load(labels / "sub-dev01/anat/sub-dev01_acq-sagcrop_T2w_label-SC_seg.nii.gz")
    grid = read_grid(whole)
    mask = np.zeros(grid.shape, bool)
    mask[180:240, 120:175, 0:52] = np.asarray(part.dataobj) > 0
    first = (whole, save(work / "dev01.nii.gz", mask, grid))
    # There is no cord mask of dev03: its grey matter has the same course.
    yield (
        *first,
        folder / "sub-dev02/anat/sub-dev02_acq-sagcrop_T1w.nii.gz",
        labels / ("sub-dev02/anat/sub-dev02_acq-sagcrop_T1w_label-SC_seg.nii.gz"),
    )
    yield (
        *first,
        folder / "sub-dev03/anat/sub-dev03_acq-ax_T2starw.nii.gz",
        labels / ("sub-dev03/anat/sub-dev03_acq-ax_T2starw_label-GM_seg.nii.gz"),
    )
    # Nor one of the second run of dev05, whose grid is the first one's.
    runs = [folder / f"sub-dev05/anat/sub-dev05_acq-ax_run-{run}_T2starw.nii.gz" for run in (1, 2)]
    same = labels / "sub-dev05/anat/sub-dev05_acq-ax_run-1_T2starw_label-SC_seg.nii.gz"
    yield runs[0], same, runs[1], same


@pytest.mark.real
def test_real_pairs_are_never_worse_than_by_header(real_data, tmp_path):
    for reference, reference_cord, image, image_cord in _real_pairs(real_data, tmp_path):
        found = align.align(image, image_cord, reference, reference_cord)
        lines = [
            cord.centreline_mm(np.asarray(nib.load(mask).dataobj), read_grid(scan_path))
            for scan_path, mask in ((reference, reference_cord), (image, image_cord))
        ]
        header, kept = (distance_mm(*lines, transform) for transform in (np.eye(4), found.transform))
        assert kept <= header + 0.3, f"{image.name}: {found}"
        if header > 1:
            assert kept < 0.7, f"{image.name}: {found}"
        middle = lines[0].mean(axis=0)
        assert (
            abs((found.transform[:3, :3] @ middle + found.transform[:3, 3] - middle)[2])
            <= align.MAX_SHIFT_ALONG_MM + 0.5
        )


def test_benchmark_perturbs_and_measures_in_millimetres():
    from bids_app.accuracy import alignment as benchmark

    random = np.random.default_rng(3)
    line = np.column_stack([np.zeros(50), np.zeros(50), np.linspace(0, 100, 50)])
    for _ in range(20):
        change = benchmark._draw(random, line.mean(axis=0))
        np.testing.assert_allclose(change[:3, :3] @ change[:3, :3].T, np.eye(3), atol=1e-9)
        middle = change[:3, :3] @ line.mean(axis=0) + change[:3, 3] - line.mean(axis=0)
        assert np.hypot(*middle[:2]) <= benchmark.IN_PLANE_MM
        assert abs(middle[2]) <= benchmark.ALONG_MM
    moved = np.eye(4)
    moved[:3, 3] = 0.3, 0.4, -2
    assert benchmark._apart(line, np.eye(4), moved) == (pytest.approx(0.5), pytest.approx(2.0))
    good = benchmark.Outcome(1.4, 1.9, 5.0, 3.0, 1.0, "rigid")
    assert good.success
    assert good.loss_mm == pytest.approx(np.hypot(1.4, 1.9) - np.hypot(5, 3))
    assert not benchmark.Outcome(1.6, 0.0, 5.0, 3.0, 1.0, "rigid").success
    assert "1 of 1\t0 of 1" in benchmark.row("x", [good])


def test_resampled_scan_lies_where_the_scan_does():
    from bids_app.accuracy import alignment as benchmark
    from bids_app.space import Grid

    values = np.zeros((40, 40, 40), np.float32)
    values[10:20, 12:22, 5:35] = 100
    side = benchmark.Side(values + 1, values > 0, Grid((40, 40, 40), np.diag([-1.0, 1, 1, 1])))
    thick = benchmark._resampled(side, (0.5, 0.5, 4.0))
    assert thick.grid.spacing_mm == pytest.approx((0.5, 0.5, 4.0))
    for one in (side, thick):
        centre = one.grid.to_mm(np.argwhere(one.cord).mean(axis=0)[None])[0]
        assert centre == pytest.approx((-14.5, 16.5, 19.5), abs=2.1)
