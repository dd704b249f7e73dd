from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from bids_app import space
from bids_app.cards import SHIPPED
from bids_app.cutting import Crop
from bids_app.errors import EnvironmentFault, UnitError
from bids_app.model import checkpoint
from bids_app.model.network import MultiSequenceNet, NetworkConfig
from bids_app.operating import Operating
from bids_app.records import Image, Prepared, Unit
from bids_app.segment import Segmenter, choose_device, cord_zone, find_lesions

LENGTH = 80


@pytest.fixture
def prepared() -> Prepared:
    grid = space.Grid((200, 200, LENGTH), np.diag([-0.5, 0.5, 0.5, 1.0]))
    image = Image(Path("sub-01_T2w.nii.gz"), "01", None, {}, "T2w", "T2Sag", "sagittal", grid)
    return Prepared(Unit(image, (image,)), Path("none.npz"), ("T2Sag", "T2starAx"), grid, {}, {})


@pytest.fixture
def crop() -> Crop:
    starts = np.column_stack([np.full(LENGTH, 70), 60 + np.arange(LENGTH) // 10])
    cover = np.ones((2, 48, 48, LENGTH), bool)
    cover[1, ..., 40:] = False
    cord = np.zeros((48, 48, LENGTH), np.float32)
    cord[16:32, 18:30] = 1
    images = np.random.default_rng(0).normal(5, 1, cover.shape).astype(np.float32) * cover
    grid = space.Grid((200, 200, LENGTH), np.diag([-0.5, 0.5, 0.5, 1.0]))
    return Crop(images, cover, cord, starts, grid, ("T2Sag", "T2starAx"))


@pytest.fixture
def segmenter(tmp_path) -> Segmenter:
    torch.manual_seed(0)
    network = MultiSequenceNet(NetworkConfig(6, (4, 8), ("lesion", "cord")))
    path = tmp_path / "tiny.safetensors"
    checkpoint.save(
        path, network, {"name": "tiny", "operating_point": {"threshold": 0.4, "minimum_volume_mm3": 2.0}}
    )
    return Segmenter(torch.device("cpu"), path)


def test_lesions_are_measured_and_numbered_from_the_top(crop):
    probability = np.zeros((48, 48, LENGTH), np.float32)
    probability[20:24, 20:24, 5:15] = 0.9
    probability[20:22, 20:22, 60:70] = 0.6
    probability[30, 30, 30] = 0.99
    instances, lesions = find_lesions(probability, crop, Operating(0.5, 3.0), 4)
    assert [lesion.index for lesion in lesions] == [4, 5]
    low, high = lesions[1], lesions[0]
    assert (high.volume_mm3, low.volume_mm3) == (5.0, 20.0)
    assert low.length_mm == 5.0
    assert low.probability == pytest.approx(0.9)
    # Slice 9.5 of 0.5 mm; x runs to the left in LAS.
    assert low.position_mm[2] == pytest.approx(4.75)
    assert low.position_mm[0] == pytest.approx(-(70 + 21.5) * 0.5)
    assert high.sequences == ("T2Sag",)
    assert low.sequences == ("T2Sag", "T2starAx")
    assert set(np.unique(instances)) == {0, 4, 5}
    _, sure = find_lesions(probability, crop, Operating(0.5, 3.0, least_mean=0.7), 4)
    assert [lesion.volume_mm3 for lesion in sure] == [20.0]


@pytest.mark.parametrize(("one", "several", "volumes"), [(0.95, 0.7, [20.0]), (0.55, 0.95, [5.0])])
def test_where_several_sequences_cover_a_lesion_another_mean_is_enough(crop, one, several, volumes):
    probability = np.zeros((48, 48, LENGTH), np.float32)
    probability[20:24, 20:24, 5:15] = 0.9  # Two sequences cover this one,
    probability[20:22, 20:22, 60:70] = 0.6  # and one that.
    _, lesions = find_lesions(probability, crop, Operating(0.5, 3.0, one, several), 1)
    assert [lesion.volume_mm3 for lesion in lesions] == volumes


def test_a_lesion_across_a_shift_of_the_crop_is_one(crop):
    probability = np.zeros((48, 48, LENGTH), np.float32)
    # A straight column in the grid moves backwards in the crop as its start moves forwards.
    for k in range(40):
        j = 85 - crop.starts[k, 1]
        probability[20:23, j : j + 2, k] = 0.9
    _, lesions = find_lesions(probability, crop, Operating(0.5, 1.0), 1)
    assert len(lesions) == 1
    assert lesions[0].length_mm == 20.0


def test_the_zone_is_the_cord_and_2_mm_around(crop):
    zone = cord_zone(crop.cord)
    assert zone[12, 24, 10]
    assert not zone[11, 24, 10]
    with pytest.raises(UnitError):
        cord_zone(np.zeros_like(crop.cord))


def test_images_of_a_sequence_that_the_weights_do_not_know_are_left_out(segmenter, crop):
    more = replace(
        crop,
        images=np.concatenate([crop.images, 9 * crop.images[:1]]),
        coverage=np.concatenate([crop.coverage, crop.coverage[:1]]),
        sequences=(*crop.sequences, "PSIR"),
    )
    np.testing.assert_array_equal(segmenter.probability(more), segmenter.probability(crop))
    alone = replace(crop, images=crop.images[:1], coverage=crop.coverage[:1], sequences=("PSIR",))
    with pytest.raises(UnitError, match="know no PSIR"):
        segmenter.find(alone)


def test_probability_is_zero_where_nothing_covers(segmenter, crop):
    cover = crop.coverage.copy()
    cover[0, ..., 70:] = False
    result = segmenter.probability(replace(crop, images=crop.images * cover, coverage=cover))
    assert result.shape == (48, 48, LENGTH)
    assert (result[..., 70:] == 0).all()
    assert (result[8:-8, 12:-12, :60] > 0).all()


def test_segment_writes_maps_and_is_repeatable(segmenter, crop, prepared, tmp_path):
    path = tmp_path / "crop.npz"
    np.savez(path, images=crop.images, coverage=crop.coverage, cord=crop.cord, starts=crop.starts)
    whole = Prepared(prepared.unit, path, prepared.sequences, prepared.grid, {}, {})
    one = segmenter.segment(whole, tmp_path / "a")
    two = segmenter.segment(whole, tmp_path / "b")
    assert one.operating.threshold == 0.4
    assert one.operating.minimum_volume_mm3 == 2.0
    with np.load(one.maps) as a, np.load(two.maps) as b:
        np.testing.assert_array_equal(a["probability"], b["probability"])
        assert (a["probability"][~cord_zone(crop.cord)] == 0).all()
        assert set(np.unique(a["instances"])) - {0} == {lesion.index for lesion in one.lesions}
    assert one.weights["sha256"] == segmenter.weights.card.sha256


def test_several_units_at_once_give_what_each_gives_alone_and_a_bad_one_waits_for_its_turn(
    segmenter, crop, prepared, tmp_path, monkeypatch
):
    units = []
    for number, length in enumerate((LENGTH, LENGTH // 2)):
        path = tmp_path / f"crop-{number}.npz"
        part = {name: getattr(crop, name)[..., :length] for name in ("images", "coverage", "cord")}
        np.savez(path, **part, starts=crop.starts[:length])
        units.append(replace(prepared, crop=path))
    bad = replace(prepared, crop=tmp_path / "none.npz")
    alone = [segmenter.segment(unit, tmp_path / "alone" / unit.crop.stem) for unit in units]
    calls = []
    whole = segmenter.predictor.__class__.__call__
    monkeypatch.setattr(
        segmenter.predictor.__class__,
        "__call__",
        lambda own, samples: calls.append(len(samples)) or whole(own, samples),
    )
    segmenter.look_ahead([units[0], bad, units[1]])
    assert len(calls) == 1
    for unit, expected in zip(units, alone, strict=True):
        found = segmenter.segment(unit, tmp_path / "together" / unit.crop.stem)
        assert found.lesions == expected.lesions
        with np.load(found.maps) as one, np.load(expected.maps) as other:
            np.testing.assert_array_equal(one["probability"], other["probability"])
    assert len(calls) == 1
    assert not segmenter.ahead
    with pytest.raises(FileNotFoundError):
        segmenter.segment(bad, tmp_path)


def test_a_gpu_that_is_not_there_is_refused(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert choose_device("auto").type == "cpu"
    with pytest.raises(EnvironmentFault, match="no CUDA device"):
        choose_device("cuda")


def test_weights_of_another_network_are_refused():
    with pytest.raises(EnvironmentFault, match="not a lesion model"):
        Segmenter(torch.device("cpu"), SHIPPED / "cord.safetensors")
