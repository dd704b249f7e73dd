"""Between an image's grid and the crop: exact where it can be, close where it cannot."""

from __future__ import annotations

import numpy as np
import pytest
from conftest import ORIENTATIONS, oriented_affine
from fakes_cord import rigid
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bids_app import resample, space
from bids_app.images import common_grid
from bids_app.space import Grid

QUICK = settings(
    max_examples=25, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)

codes = st.sampled_from((*ORIENTATIONS, "PIR", "SRA"))
tilts = st.floats(-30, 30)


@st.composite
def grids(draw, finest=0.4, coarsest=1.2, extent_mm=50.0):
    """A grid of any orientation around the origin."""
    spacing = [draw(st.floats(finest, coarsest)) for _ in range(3)]
    affine = oriented_affine(draw(codes), spacing, draw(tilts))
    shape = tuple(int(np.ceil(extent_mm / step)) for step in spacing)
    affine[:3, 3] = -affine[:3, :3] @ ((np.array(shape) - 1) / 2)
    return Grid(shape, affine)


@st.composite
def thick_grids(draw):
    """A grid with slices of up to 4 mm along any axis."""
    grid = draw(grids(coarsest=1.0, extent_mm=70.0))
    axis = draw(st.integers(0, 2))
    factor = draw(st.floats(1.0, 4.0)) / grid.spacing_mm[axis]
    affine = grid.affine.copy()
    affine[:3, axis] *= factor
    shape = list(grid.shape)
    shape[axis] = int(np.ceil(70.0 / (grid.spacing_mm[axis] * factor)))
    affine[:3, 3] = -affine[:3, :3] @ ((np.array(shape) - 1) / 2)
    return Grid(tuple(shape), affine)


@st.composite
def courses(draw, common):
    """First voxels of the crop along a wandering cord near the middle of a grid."""
    seed = draw(st.integers(0, 2**16))
    wander = np.cumsum(np.random.default_rng(seed).normal(0, 0.12, (common.shape[2], 2)), axis=0)
    middle = (np.array(common.shape[:2]) - 1) / 2
    return space.crop_starts(middle + wander - wander[len(wander) // 2])


def dice(a, b):
    return 2 * (a & b).sum() / (a.sum() + b.sum())


def ball(points, centre, radius):
    return np.linalg.norm(points - centre, axis=-1) <= radius


def points_of(grid):
    index = np.stack(np.meshgrid(*[np.arange(n) for n in grid.shape], indexing="ij"), axis=-1)
    return grid.to_mm(index.astype(float))


@QUICK
@given(st.data(), grids())
def test_uncrop_undoes_the_crop_exactly(data, reference):
    common = common_grid(reference)
    starts = data.draw(courses(common))
    rng = np.random.default_rng(0)
    crop = rng.integers(1, 1000, (space.CROP_VOXELS, space.CROP_VOXELS, len(starts)))
    margin = data.draw(st.integers(0, 3))
    box = space.uncrop(crop, starts, common, margin)
    points = common.to_mm(space.crop_index(starts).astype(float))
    back = np.round(box.grid.to_index(points)).astype(int)
    assert np.abs(box.grid.to_index(points) - back).max() < 1e-6
    assert np.array_equal(box.array[back[..., 0], back[..., 1], back[..., 2]], crop)
    assert (box.array != 0).sum() == crop.size


@QUICK
@given(st.data(), grids())
def test_sampling_the_common_grid_itself_is_exact(data, reference):
    common = common_grid(reference)
    starts = data.draw(courses(common))
    volume = np.random.default_rng(1).normal(size=common.shape).astype(np.float32)
    sampled, coverage = resample.to_crop(volume, common, starts, common, np.eye(4))
    index = space.crop_index(starts)
    inside = np.all((index >= 0) & (index < np.array(common.shape)), axis=-1)
    assert np.array_equal(coverage, inside)
    assert np.allclose(sampled[inside], volume[tuple(index[inside].T)], atol=1e-5)
    assert not sampled[~inside].any()


@QUICK
@given(st.data(), grids(), grids(coarsest=4.0), st.integers(0, 2**16))
def test_a_linear_field_is_sampled_where_it_is(data, reference, image, seed):
    """Position errors of any axis, flip, tilt or transform would show at once."""
    common = common_grid(reference)
    starts = data.draw(courses(common))
    rng = np.random.default_rng(seed)
    transform = rigid(rng.uniform(-15, 15), rng.normal(size=3), rng.uniform(-5, 5, 3))
    slope = rng.normal(size=3)
    volume = (points_of(image) @ slope).astype(np.float32)
    sampled, coverage = resample.to_crop(volume, image, starts, common, transform)
    there = common.to_mm(space.crop_index(starts).astype(float)) @ transform[:3, :3].T + transform[:3, 3]
    index = image.to_index(there)
    between = np.all((index >= 0) & (index <= np.array(image.shape) - 1), axis=-1)
    assert coverage[between].all()
    assert np.abs(sampled[between] - (there @ slope)[between]).max(initial=0) < 1e-2


@QUICK
@given(st.data(), grids(coarsest=1.2, extent_mm=64.0), thick_grids(), st.floats(1.0, 1.3))
def test_a_blob_goes_out_and_comes_back(data, reference, image, size):
    common = common_grid(reference)
    starts = data.draw(courses(common))
    # At least 4 mm in radius, and at least three slices thick.
    radius = max(4.0, 1.5 * image.spacing_mm.max()) * size
    points = common.to_mm(space.crop_index(starts).astype(float))
    centre = points[24, 24, points.shape[2] // 2]
    blob = ball(points, centre, radius)
    transform = rigid(8, [1, 1, 0], [2, -1, 1])
    native = resample.from_crop(blob.astype(np.float32), starts, common, image, transform)
    assert native.min() >= 0
    assert native.max() <= 1 + 1e-5
    back, _ = resample.to_crop(native, image, starts, common, transform)
    assert dice(back > 0.5, blob) >= 0.90
    moved = transform[:3, :3] @ centre + transform[:3, 3]
    truth = ball(points_of(image), moved, radius)
    assert dice(native > 0.5, truth) >= 0.90
    volume = (native > 0.5).sum() * image.voxel_volume_mm3
    assert abs(volume / (blob.sum() * space.SPACING_MM**3) - 1) < 0.12


@QUICK
@given(st.data(), grids(coarsest=1.2, extent_mm=64.0), thick_grids(), st.floats(1.0, 1.3))
def test_a_native_blob_comes_in_and_goes_back(data, reference, image, size):
    common = common_grid(reference)
    starts = data.draw(courses(common))
    radius = max(4.0, 1.5 * image.spacing_mm.max()) * size
    blob = ball(points_of(image), np.zeros(3), radius)
    crop, _ = resample.to_crop(blob.astype(np.float32), image, starts, common, np.eye(4))
    back = resample.from_crop((crop > 0.5).astype(np.float32), starts, common, image, np.eye(4)) > 0.5
    assert dice(back, blob) >= 0.90


@QUICK
@given(st.data(), grids(), thick_grids())
def test_labels_keep_their_numbers_and_places(data, reference, image):
    common = common_grid(reference)
    starts = data.draw(courses(common))
    points = common.to_mm(space.crop_index(starts).astype(float))
    middle = points.shape[2] // 2
    centres = {3: points[14, 24, middle], 70000: points[34, 24, middle]}
    labels = np.zeros(points.shape[:3], np.int32)
    for number, centre in centres.items():
        labels[ball(points, centre, 3.0)] = number
    native = resample.labels_from_crop(labels, starts, common, image, np.eye(4))
    assert native.dtype == np.int32
    assert set(np.unique(native)) <= {0, *centres}
    own = points_of(image)
    for number, centre in centres.items():
        assert (native[ball(own, centre, 2.0)] == number).all()


def test_images_out_of_reach_get_nothing():
    common = Grid((60, 60, 40), np.diag([-0.5, 0.5, 0.5, 1.0]))
    starts = np.full((40, 2), 6, np.int64)
    affine = np.diag([1.0, 1.0, 1.0, 1.0])
    affine[:3, 3] = 500
    far = Grid((10, 10, 10), affine)
    crop = np.ones((48, 48, 40), np.float32)
    assert not resample.from_crop(crop, starts, common, far, np.eye(4)).any()
    assert not resample.labels_from_crop(crop.astype(np.int32), starts, common, far, np.eye(4)).any()
    sampled, coverage = resample.to_crop(np.ones((10, 10, 10), np.float32), far, starts, common, np.eye(4))
    assert not coverage.any()
    assert not sampled.any()


def test_coverage_ends_at_the_edges_of_the_voxels():
    common = Grid((48, 48, 40), np.diag([0.5, 0.5, 0.5, 1.0]))
    starts = np.zeros((40, 2), np.int64)
    affine = np.diag([30.0, 30.0, 4.0, 1.0])
    affine[:3, 3] = (10, 10, 5)
    # Two slices of 4 mm around z = 5 and 9 mm: covered from 3 to 11 mm.
    _, coverage = resample.to_crop(
        np.ones((2, 2, 2), np.float32), Grid((2, 2, 2), affine), starts, common, np.eye(4)
    )
    z = np.arange(40) * 0.5
    assert np.array_equal(coverage.all(axis=(0, 1)), (z >= 3) & (z <= 11))


def test_nothing_comes_from_voxels_without_data():
    common = Grid((48, 48, 40), np.diag([0.5, 0.5, 0.5, 1.0]))
    starts = np.zeros((40, 2), np.int64)
    grid = Grid((24, 24, 20), np.diag([1.0, 1.0, 1.0, 1.0]))
    valid = np.ones(grid.shape, bool)
    valid[..., 10:] = False
    volume = np.where(valid, np.float32(7), np.float32(0))
    sampled, coverage = resample.to_crop(volume, grid, starts, common, np.eye(4), valid=valid)
    # Data up to the edge of the tenth slice, at 9.5 mm, and of one value up to there.
    assert np.array_equal(coverage.any(axis=(0, 1)), np.arange(40) * 0.5 <= 9.5)
    assert np.allclose(sampled[coverage], 7)
    assert not sampled[~coverage].any()


def test_normalisation_sees_covered_voxels_only():
    image = np.array([1.0, 2.0, 3.0, 1000.0])
    covered = np.array([True, True, True, False])
    result = space.normalise(image, covered)
    assert result.dtype == np.float32
    assert np.allclose(result, [-np.sqrt(1.5), 0, np.sqrt(1.5), 0])
    assert not space.normalise(np.full(4, 7.0), covered).any()
    assert not space.normalise(image, np.zeros(4, bool)).any()


def test_crop_starts_centre_the_crop():
    starts = space.crop_starts(np.array([[23.5, 40.0], [23.9, 3.0]]))
    assert starts.tolist() == [[0, 16], [0, -20]]


def test_signal_is_taken_relative_to_the_cord():
    image = np.full((10, 10, 10), 300.0)
    cord = np.zeros(image.shape)
    cord[2:8, 2:8, 2:8] = 1
    image[cord > 0] = 100
    image[4, 4, 4] = 130
    covered = np.ones(image.shape, bool)
    covered[0] = False
    # One voxel far below all others changes nothing beside itself.
    for stray in (0.0, -400.0):
        image[9, 9, 9] = stray
        relative = space.relative_to_cord(image, covered, cord)
        assert relative[4, 4, 4] == pytest.approx(0.3, abs=1e-6)
        assert relative[5, 5, 5] == pytest.approx(0)
        assert relative[9, 0, 0] == pytest.approx(2)
        assert not relative[0].any()
    assert space.relative_to_cord(image, covered, np.zeros(image.shape)) is None
    assert space.relative_to_cord(np.zeros(image.shape), covered, cord) is None
    assert space.relative_to_cord(image * 100, covered, cord).max() <= space.RELATIVE_LIMITS[1]


def test_the_part_around_the_cord_follows_it_to_the_edge():
    cord = np.zeros((48, 48, 8))
    cord[30:40, 20:28] = 1
    part = space.around_cord(cord)
    assert [s.stop - s.start for s in part] == list(space.NARROW)
    assert part[0].stop == 48
    assert part[1].start == 8
    assert space.around_cord(np.zeros((48, 48, 8))) == (slice(4, 44), slice(8, 40))
