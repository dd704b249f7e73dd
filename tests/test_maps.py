import logging

import numpy as np
import pytest

from bids_app.records import Lesion
from bids_app.space import Grid
from bids_app.write.maps import Layer, covers, native_maps

COMMON = Grid((60, 60, 40), np.diag([-0.5, 0.5, 0.5, 1.0]))
STARTS = np.full((40, 2), 6)
#: One voxel of it holds 16 x 16 x 20 of the common grid, edge on edge.
COARSE = Grid((4, 4, 2), np.array([[-8.0, 0, 0, -3.75], [0, 8, 0, 3.75], [0, 0, 10, 4.75], [0, 0, 0, 1]]))


def layer(*blocks, threshold=0.4):
    """Blocks: (index, slices of the crop, probability); lesion 0 is above the threshold but not kept."""
    probability = np.zeros((48, 48, 40), np.float32)
    instances = np.zeros(probability.shape, np.int32)
    lesions = []
    for index, where, value in blocks:
        probability[where], instances[where] = value, index
        if index:
            own = np.zeros(probability.shape, bool)
            own[where] = True
            centre = COMMON.to_mm(np.argwhere(own).mean(axis=0) + np.array([6, 6, 0]))
            lesions.append(Lesion(index, own.sum() / 8, 1.0, tuple(centre), value, value))
    return Layer(probability, instances, STARTS, COMMON, np.eye(4), threshold, tuple(lesions))


def block(*ranges):
    return tuple(slice(a, b) for a, b in ranges)


def test_on_the_common_grid_the_instances_come_back_unchanged():
    one = layer((1, block((20, 25), (20, 24), (5, 15)), 0.9), (2, block((30, 31), (30, 31), (30, 31)), 0.41))
    labels = native_maps([one], COMMON).instances
    assert np.array_equal(labels[6:54, 6:54], one.instances)
    assert (labels > 0).sum() == (one.instances > 0).sum()


def test_what_was_not_kept_does_not_grow_back_at_the_edge_of_a_lesion():
    # As where a blob reaches out of the cord: half of it is kept.
    half = layer((1, block((20, 24), (20, 30), (5, 15)), 0.9), (0, block((24, 28), (20, 30), (5, 15)), 0.9))
    maps = native_maps([half], COMMON)
    assert np.array_equal(maps.instances[6:54, 6:54], half.instances)
    assert maps.probability[6 + 26, 6 + 25, 10] == pytest.approx(0.9)


def test_a_lesion_never_takes_the_only_voxel_of_another(caplog):
    tiny = [
        (1, block((16, 17), (16, 17), (8, 9)), 0.9),
        (2, block((18, 19), (18, 19), (11, 12)), 0.8),
    ]
    with caplog.at_level(logging.WARNING):
        labels = native_maps([layer(*tiny)], COARSE).instances
    assert np.argwhere(labels == 1).tolist() == [[1, 1, 0]]
    assert (labels > 0).sum() == 1
    assert "Lesion 2" in caplog.text


def test_a_lesion_may_take_a_voxel_of_a_larger_one():
    large = (1, block((0, 48), (0, 48), (0, 40)), 0.9)
    tiny = (2, block((18, 19), (18, 19), (11, 12)), 0.95)
    labels = native_maps([layer(large, tiny)], COARSE).instances
    assert np.argwhere(labels == 2).tolist() == [[1, 1, 0]]
    assert (labels == 1).sum() > 1


@pytest.mark.parametrize("order", [1, -1])
def test_of_two_units_the_more_probable_lesion_has_the_voxel(order):
    sure = layer((1, block((20, 25), (20, 25), (5, 15)), 0.9))
    doubtful = layer((2, block((20, 25), (20, 25), (5, 25)), 0.5))
    maps = native_maps([sure, doubtful][::order], COMMON)
    labels = maps.instances[6:54, 6:54]
    assert (labels[20:25, 20:25, 5:15] == 1).all()
    assert (labels[20:25, 20:25, 16:25] == 2).all()
    assert maps.probability.max() == pytest.approx(0.9)


def test_threshold_of_a_voxel_is_met_by_its_mean():
    full = layer((1, block((0, 48), (0, 48), (0, 20)), 0.5))
    labels = native_maps([full], COARSE).instances
    assert (labels[1:3, 1:3, 0] == 1).all()
    assert not labels[..., 1].any()


def test_covers_reaches_to_the_edge_of_the_outer_voxels():
    grid = Grid((4, 4, 4), np.eye(4))

    def at(x):
        return Lesion(1, 1, 1, (x, 1.0, 1.0), 1, 1)

    assert covers(grid, at(-0.49), np.eye(4))
    assert not covers(grid, at(-0.51), np.eye(4))
    shift = np.eye(4)
    shift[0, 3] = 1
    assert covers(grid, at(-0.51), shift)


def test_a_lesion_that_is_not_in_its_map_is_a_defect():
    broken = layer((1, block((16, 17), (16, 17), (8, 9)), 0.9))
    broken.instances[:] = 0
    broken.instances[0, 0, 0] = 5
    with pytest.raises(ValueError, match="lesion 1"):
        native_maps([broken], COARSE)
