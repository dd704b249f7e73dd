"""Which sequences a lesion rests on, how steady it is, and where in the cord it lies."""

from __future__ import annotations

from argparse import Namespace
from dataclasses import replace

import numpy as np
import pytest
import torch
from test_segment import LENGTH, crop, prepared, segmenter  # noqa: F401

from bids_app import quarters, support
from bids_app.cards import Calibration
from bids_app.model.network import MultiSequenceNet, NetworkConfig
from bids_app.model.predict import Predictor, Sample, Variant
from bids_app.operating import Operating
from bids_app.records import Lesion
from bids_app.report.unit import heat_of, rests_on
from bids_app.segment import find_lesions
from bids_app.sequences import SLOTS

SHAPE = (16, 16, 16)


@pytest.fixture
def predictor() -> Predictor:
    torch.manual_seed(0)
    network = MultiSequenceNet(NetworkConfig(6, (4, 8, 12), ("lesion", "cord"))).eval()
    return Predictor(network, torch.device("cpu"))


@pytest.fixture
def sample() -> Sample:
    random = np.random.default_rng(0)
    coverage = np.ones((3, *SHAPE), np.float32)
    coverage[1, ..., 10:] = 0
    coverage[0, ..., :3] = 0
    return Sample(random.normal(size=coverage.shape).astype(np.float32) * coverage, coverage, (0, 2, 3))


def without(sample: Sample, slot: int) -> Sample:
    rows = [row for row, own in enumerate(sample.slots) if own != slot]
    return Sample(sample.images[rows], sample.coverage[rows], tuple(sample.slots[row] for row in rows))


def test_leaving_out_equals_never_having_had(predictor, sample):
    variants = [
        Variant(),
        *(Variant(frozenset([slot])) for slot in sample.slots),
        Variant(frozenset(sample.slots)),
    ]
    everything, *less, nothing = predictor.variants(sample, variants)
    assert np.array_equal(everything, predictor([sample])[0])
    for slot, found in zip(sample.slots, less, strict=True):
        assert np.array_equal(found, predictor([without(sample, slot)])[0])
        assert not np.array_equal(found, everything)
    assert nothing is None


def test_encoders_run_once(predictor, sample, monkeypatch):
    calls = []
    encode = predictor.network.encode
    monkeypatch.setattr(predictor.network, "encode", lambda batch: calls.append(1) or encode(batch))
    predictor.variants(sample, list(support.variants_of(["T2Sag", "T2starAx", "T1"]).values()))
    assert calls == [1]


def test_noise_repeats_and_does_not_touch_other_random_numbers(predictor, sample):
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    first, second, again, quiet = predictor.variants(
        sample,
        [Variant(noise=0.1, seed=1), Variant(noise=0.1, seed=2), Variant(noise=0.1, seed=1), Variant()],
    )
    assert torch.equal(torch.rand(3), expected)
    assert np.array_equal(first, again)
    assert not np.array_equal(first, second)
    assert 0 < np.abs(first - quiet).max() < 0.5


def test_what_is_decoded():
    assert [name for name in support.variants_of(["T2Sag"]) if not name.startswith("noise")] == []
    two = [name for name in support.variants_of(["T2Sag", "STIR"]) if not name.startswith("noise")]
    assert two == ["without T2Sag", "without STIR"]
    three = support.variants_of(["T2Sag", "STIR", "T1"])
    assert three["T2Sag alone"].without == {SLOTS.index("STIR"), SLOTS.index("T1")}
    assert sum(name.startswith("noise") for name in three) == support.PASSES


def test_support_of_a_lesion_is_the_mean_without_the_sequence(segmenter, crop):  # noqa: F811
    probability = np.zeros((48, 48, LENGTH), np.float32)
    probability[20:24, 20:24, 5:15] = 0.9
    probability[20:23, 20:23, 60:70] = 0.6
    instances, lesions = find_lesions(probability, crop, Operating(0.5, 1.0), 1)
    high, low = segmenter.supported(crop, instances, lesions)
    alone = segmenter.probability(
        replace(crop, images=crop.images[:1], coverage=crop.coverage[:1], sequences=crop.sequences[:1])
    )
    for lesion in (high, low):
        assert lesion.support["without T2starAx"] == pytest.approx(
            alone[instances == lesion.index].mean(), abs=1e-5
        )
        assert lesion.noise_sd > 0
        assert lesion.calibrated is None
    # T2starAx does not reach the upper lesion: nothing is left there without T2Sag.
    assert high.support["without T2Sag"] == 0
    assert low.support["without T2Sag"] > 0
    assert segmenter.supported(crop, instances, lesions) == (high, low)
    assert segmenter.supported(crop, instances, ()) == ()


def test_what_is_left_is_judged_by_how_many_sequences_are_left():
    """Two sequences cover the lesion; each alone needs the higher mean."""
    support_of = {"without T2Sag": 0.75, "without STIR": 0.85, "without T1": 0.75, "T2Sag alone": 0.8}
    lesion = Lesion(1, 9.0, 4.0, (0.0, 0.0, 0.0), 0.9, 0.78, ("T2Sag", "STIR"), support=support_of)
    heat = heat_of(lesion, Namespace(operating=Operating(0.3, 0.0, 0.82, 0.74)))
    assert {cell.name: cell.kept for cell in heat} == {
        "all": True, "without T2Sag": False, "without STIR": True, "without T1": True, "T2Sag alone": False
    }  # fmt: skip
    assert rests_on(lesion, heat) == "T2Sag"


def test_calibration_keeps_the_order():
    calibration = Calibration(2.0, -1.0, 0.0)
    values = [calibration.of(mean, 1) for mean in (0.0, 0.5, 0.84, 0.95, 1.0)]
    assert values == sorted(values)
    assert calibration.of(0.5, 1) == pytest.approx(1 / (1 + np.e))
    assert calibration.of(0.5, 2) == pytest.approx(0.5)
    assert Calibration(1.0, 0.0, 0.0).of(0.9, 1) == pytest.approx(0.9)


@pytest.mark.parametrize(
    ("part", "expected"),
    [
        ((slice(29, 31), slice(22, 25)), ("left", "lateral")),
        ((slice(17, 19), slice(22, 25)), ("right", "lateral")),
        ((slice(23, 25), slice(18, 20)), ("midline", "posterior")),
        ((slice(23, 25), slice(28, 30)), ("midline", "anterior")),
        ((slice(23, 25), slice(23, 25)), ("midline", "central")),
    ],
)
def test_place_in_the_cross_section(crop, part, expected):  # noqa: F811
    inside = np.zeros(crop.cord.shape, bool)
    inside[(*part, slice(10, 20))] = True
    assert quarters.of_lesion(inside, crop.cord) == expected
    assert quarters.of_lesion(inside, np.zeros_like(crop.cord)) == ("", "")


def test_distance_from_the_top_follows_the_cord(crop):  # noqa: F811
    inside = np.zeros(crop.cord.shape, bool)
    inside[20, 20, 19] = True
    straight = np.zeros((LENGTH, 2), np.int64)
    assert quarters.from_top_mm(inside, crop.cord, straight) == pytest.approx((LENGTH - 1 - 19) * 0.5)
    # A cord that leans by 45 degrees is longer than the image is high.
    leaning = np.column_stack([np.zeros(LENGTH, int), np.arange(LENGTH)])
    longer = quarters.from_top_mm(inside, crop.cord, leaning)
    assert longer > 1.2 * quarters.from_top_mm(inside, crop.cord, straight)
    assert quarters.from_top_mm(inside, np.zeros_like(crop.cord), straight) is None
