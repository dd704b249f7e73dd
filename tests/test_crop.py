"""The crop of a unit: shapes, coverage, normalisation, and that every input shows the same cord."""

from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest
from fakes_cord import GRIDS, centre_at, cord_mask, make_grid, rigid, save, scan

from bids_app import space
from bids_app.errors import BadImageError, CordError
from bids_app.images import common_grid
from bids_app.preprocess.crop import CropInput, make_crop, merge_stations
from bids_app.space import Grid


def write(folder, name, grid, contrast="T2", affine=None):
    at = grid if affine is None else Grid(grid.shape, affine)
    return save(folder / f"{name}.nii.gz", scan(grid, contrast), at), save(
        folder / f"{name}_cord.nii.gz", cord_mask(grid), at
    )


@pytest.mark.parametrize(("codes", "spacing", "tilt"), GRIDS)
def test_the_cord_runs_through_the_middle(tmp_path, codes, spacing, tilt):
    grid = make_grid(codes, spacing, tilt)
    image, mask = write(tmp_path, "a", grid)
    assert make_crop(mask, (CropInput(image, np.eye(4)),), tmp_path / "crop.npz") == {}
    crop = np.load(tmp_path / "crop.npz")
    common = common_grid(grid)
    n = common.shape[2]
    assert crop["images"].shape == (1, 48, 48, n)
    assert crop["images"].dtype == np.float32
    assert crop["coverage"].shape == (1, 48, 48, n)
    assert crop["coverage"].dtype == bool
    assert crop["cord"].shape == (48, 48, n)
    assert crop["cord"].dtype == np.float32
    assert crop["cord"].min() >= 0
    assert crop["cord"].max() == pytest.approx(1)
    assert crop["starts"].shape == (n, 2)
    points = common.to_mm(space.crop_index(crop["starts"]).astype(float))
    inside = crop["cord"] > 0.5
    inner = inside & (np.abs(points[..., 2]) < 35)
    truth = (((points[..., :2] - centre_at(points[..., 2])) / (6.0, 4.5)) ** 2).sum(-1) <= 1
    assert (inner & truth).sum() / inner.sum() > 0.85
    middle = np.argwhere(inner)[:, :2].mean(axis=0)
    assert np.abs(middle - 23.5).max() < 2
    # The file's own units, and nothing where it has no data.
    values, covered = crop["images"][0], crop["coverage"][0]
    low, high = (float(bound(np.asarray(nib.load(image).dataobj))) for bound in (np.min, np.max))
    assert low - 1e-3 <= values[covered].min() <= values[covered].max() <= high + 1e-3
    assert not values[~covered].any()


def test_inputs_lie_on_each_other_after_their_transforms(tmp_path):
    reference = make_grid("PSR", (0.9, 0.9, 2.0))
    image, mask = write(tmp_path, "a", reference)
    other = make_grid("LAS", (0.6, 0.6, 4.0), 10.0)
    move = rigid(6, [1, 0, 1], [4, -3, 2])
    moved, _ = write(tmp_path, "b", other, affine=move @ other.affine)
    inputs = (CropInput(image, np.eye(4)), CropInput(moved, move))
    make_crop(mask, inputs, tmp_path / "good.npz")
    make_crop(mask, (inputs[0], CropInput(moved, np.eye(4))), tmp_path / "bad.npz")
    good, bad = (np.load(tmp_path / name) for name in ("good.npz", "bad.npz"))

    def likeness(crop):
        both = crop["coverage"].all(axis=0)
        return np.corrcoef(crop["images"][0][both], crop["images"][1][both])[0, 1]

    assert likeness(good) > 0.8
    assert likeness(bad) < likeness(good) - 0.2


def test_coverage_tells_the_span_of_a_short_scan(tmp_path):
    reference = make_grid("RAS", (1.0, 1.0, 1.0))
    image, mask = write(tmp_path, "a", reference)
    short, _ = write(tmp_path, "b", make_grid("LAS", (0.5, 0.5, 5.0), extent=(40, 40, 30)))
    assert (
        make_crop(mask, (CropInput(image, np.eye(4)), CropInput(short, np.eye(4))), tmp_path / "c.npz") == {}
    )
    coverage = np.load(tmp_path / "c.npz")["coverage"]
    assert coverage[1].any(axis=(0, 1)).sum() * 0.5 == pytest.approx(30, abs=1)
    assert coverage[0].mean() > 0.9


def test_an_input_that_hardly_overlaps_is_dropped_in_words(tmp_path):
    reference = make_grid("RAS", (1.0, 1.0, 1.0))
    image, mask = write(tmp_path, "a", reference)
    above = make_grid("LAS", (0.5, 0.5, 5.0), extent=(40, 40, 30), centre=(0, 0, 56))
    far, _ = write(tmp_path, "b", above)
    beside, _ = write(
        tmp_path, "c", make_grid("RAS", (1.0, 1.0, 1.0), extent=(10, 40, 90), centre=(40, 0, 0))
    )
    inputs = tuple(CropInput(path, np.eye(4)) for path in (image, far, beside))
    dropped = make_crop(mask, inputs, tmp_path / "c.npz")
    assert set(dropped) == {far, beside}
    assert "does not overlap the reference" in dropped[far]
    assert "7 mm" in dropped[far] or "8 mm" in dropped[far]
    assert np.load(tmp_path / "c.npz")["images"].shape[0] == 1


def test_equal_input_gives_equal_bytes(tmp_path):
    image, mask = write(tmp_path, "a", make_grid("LPS", (0.8, 0.8, 5.0)))
    for name in ("one.npz", "two.npz"):
        make_crop(mask, (CropInput(image, np.eye(4)),), tmp_path / name)
    assert (tmp_path / "one.npz").read_bytes() == (tmp_path / "two.npz").read_bytes()
    assert not list(tmp_path.glob(".*"))


def test_bad_images_and_empty_masks_are_refused(tmp_path):
    grid = make_grid("RAS", (1.0, 1.0, 2.0))
    image, mask = write(tmp_path, "a", grid)
    with pytest.raises(BadImageError, match=r"gone\.nii\.gz"):
        make_crop(mask, (CropInput(tmp_path / "gone.nii.gz", np.eye(4)),), tmp_path / "c.npz")
    empty = np.zeros(grid.shape, np.uint8)
    with pytest.raises((BadImageError, CordError), match="empty"):
        make_crop(
            save(tmp_path / "e.nii.gz", empty, grid), (CropInput(image, np.eye(4)),), tmp_path / "c.npz"
        )
    assert not (tmp_path / "c.npz").exists()


def test_stations_are_merged_each_where_it_covers():
    cord = np.zeros((48, 48, 10), np.float32)
    cord[20:28, 20:28] = 1
    upper, lower = np.zeros(cord.shape, bool), np.zeros(cord.shape, bool)
    upper[..., 4:], lower[..., :6] = True, True
    tissue = np.where(cord > 0, 100, 40).astype(np.float32)
    # The lower station has another scale, as every series may; in the overlap a place is brighter in it.
    first, second = np.where(upper, tissue, 0), np.where(lower, 3 * tissue, 0)
    second[0, 0, 5] = 3 * 60
    image, coverage = merge_stations([(first, upper), (second, lower)], cord)
    assert coverage.all()
    expected = tissue.copy()
    expected[0, 0, 5] = (40 + 60) / 2
    np.testing.assert_allclose(image, expected, rtol=1e-6)


def test_where_no_station_covers_there_is_nothing():
    cord = np.ones((48, 48, 4), np.float32)
    one, other = np.zeros(cord.shape, bool), np.zeros(cord.shape, bool)
    one[..., 0], other[..., 2] = True, True
    image, coverage = merge_stations([(cord * one, one), (cord * other, other)], cord)
    assert coverage.any(axis=(0, 1)).tolist() == [True, False, True, False]
    assert not image[~coverage].any()
    alone = merge_stations([(cord * one, one)], cord)
    assert alone[1] is one


def test_stations_of_one_sequence_make_one_row(tmp_path):
    reference, mask = write(tmp_path, "a", make_grid("RAS", (1.0, 1.0, 1.0)))
    paths = [
        write(tmp_path, name, make_grid("LAS", (0.8, 0.8, 4.0), extent=(40, 40, 40), centre=(0, 0, z)), "T1")[
            0
        ]
        for name, z in (("up", 25), ("down", -10))
    ]
    inputs = (CropInput(reference, np.eye(4), "T2Sag"), *(CropInput(path, np.eye(4), "T1") for path in paths))
    assert make_crop(mask, inputs, tmp_path / "both.npz") == {}
    make_crop(mask, inputs[:2], tmp_path / "up.npz")
    both, up = np.load(tmp_path / "both.npz"), np.load(tmp_path / "up.npz")
    assert both["images"].shape[0] == 2
    span = both["coverage"][1].any(axis=(0, 1)).sum() * 0.5
    assert span == pytest.approx(75, abs=1)
    # Where only the first station covers, nothing has changed.
    alone = up["coverage"][1] & (np.arange(up["cord"].shape[2]) > up["cord"].shape[2] - 40)
    np.testing.assert_array_equal(both["images"][1][alone], up["images"][1][alone])
    assert alone.any()
