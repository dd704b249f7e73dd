from __future__ import annotations

import errno
import time
from dataclasses import astuple, replace
from pathlib import Path

import numpy as np
import pytest
import torch

from bids_app.errors import EnvironmentFault, UsageError
from bids_app.model.network import NetworkConfig
from bids_app.sequences import SLOTS
from bids_app.simulate.draw import Draw
from bids_app.simulate.patches import PRESENCE, Patch, _acquired
from bids_app.train.loop import Run, Source, TrainConfig, train
from bids_app.train.losses import dice
from bids_app.train.methods import METHODS, Dropout
from bids_app.train.operating import pick
from bids_app.train.ring import Ring, filled
from bids_app.train.samples import cord_example, lesion_example
from bids_app.train.store import read_sample, write_sample
from bids_app.train.validation import Map, measure

SHAPE = (12, 12, 8)


def tiny_patch(seed: int) -> Patch:
    """A bright ball in a grey cord, in noise."""
    random = np.random.default_rng(seed)
    cord, ball = np.zeros(SHAPE, np.float16), np.zeros(SHAPE, bool)
    cord[2:9, 2:9] = 1
    i, j = random.integers(3, 6, 2)
    ball[i : i + 3, j : j + 3, 2:6] = True
    slots = (0, 2) if seed % 2 else (1,)
    images = np.stack([random.normal(0, 0.05, SHAPE) + 0.5 + 0.5 * cord + 1.5 * ball for _ in slots])
    visible = np.stack([ball] * len(slots))
    return Patch(images.astype(np.float16), np.ones_like(images, bool), slots, visible, cord)


def tiny_patches(draw: Draw, count: int) -> list[Patch]:
    return [tiny_patch(draw.integer(0, 7)) for _ in range(count)]


TINY = Source(tiny_patches, lesion_example)
OUTPUTS = ("lesion", "cord", "grey")


@pytest.mark.parametrize(("slots", "many"), [((0, 1, 2), 400), ((1, 2), 400), ((3,), 10)])
def test_sequence_dropout_keeps_at_least_one_and_often_leaves_t2sag_alone(slots, many):
    kept = [Dropout()(slots, Draw(seed)) for seed in range(many)]
    assert all(rows and set(rows) <= set(range(len(slots))) for rows in kept)
    alone = np.mean([rows == [0] for rows in kept])
    if slots[0] == 0:
        assert 0.35 < alone < 0.75
    if len(slots) > 1:
        assert any(len(rows) == len(slots) for rows in kept)


def test_examples_mirror_images_and_targets_alike():
    for seed in range(6):
        example = lesion_example([tiny_patch(1)], Draw(seed), Dropout())
        bright = example.batch.images[0, 0] > 0.8
        assert float((bright == (example.target[0, 0] > 0.5)).float().mean()) > 0.97
    example = cord_example([tiny_patch(1), tiny_patch(2)], Draw(0), Dropout())
    assert example.batch.slot == (0, 0)
    assert example.batch.owner == (0, 1)


def test_a_third_of_the_samples_show_t2sag_alone_and_a_quarter_lack_it():
    shown = []
    for seed in range(300):
        patch_slots = tuple(SLOTS.index(name) for name in _acquired(Draw(seed), 3, PRESENCE))
        shown.append([patch_slots[row] for row in Dropout()(patch_slots, Draw(seed + 1))])
    assert np.mean([slots == [0] for slots in shown]) > 1 / 3
    assert np.mean([0 not in slots for slots in shown]) > 1 / 4


def test_the_t2sag_methods_show_nothing_else():
    for name, method in METHODS.items():
        run = Run(TrainConfig(NetworkConfig(6, (4, 8), OUTPUTS), 10, name))
        shown = [run.keep()((0, 1, 2), Draw(seed)) for seed in range(20)]
        assert all(rows == [0] for rows in shown) == method.t2sag_only
        assert all(len(rows) == 1 for rows in shown) == (method.t2sag_only or method.apart_for > 0)


@pytest.mark.parametrize("grey", [False, True])
def test_a_sample_comes_back_from_disk(tmp_path, grey):
    patch = tiny_patch(1)
    if grey:
        patch = replace(patch, grey=(patch.cord * 0.5).astype(np.float16))
    write_sample(tmp_path / "a.safetensors", patch)
    back = read_sample(tmp_path / "a.safetensors")
    assert back.slots == patch.slots
    for name in ("images", "coverage", "visible", "cord"):
        np.testing.assert_allclose(getattr(back, name), getattr(patch, name), atol=1e-3)
    assert (back.grey is not None) == grey


def test_a_full_disk_under_the_samples_is_said_so(tmp_path, monkeypatch):
    def full(self, data):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(EnvironmentFault, match=r"disk under .* is full"):
        write_sample(tmp_path / "a.safetensors", tiny_patch(1))
    assert not list(tmp_path.iterdir())


def test_the_ring_replaces_the_oldest_samples_and_goes_on_where_it_stopped(tmp_path):
    seen = []

    def make(seed: int) -> Patch:
        seen.append(seed)
        return tiny_patch(seed)

    ring = Ring(tmp_path, 3, seed=1)
    for _ in range(5):
        ring.put(make)
    assert len(set(seen)) == 5
    assert ring.held() == 3
    assert len(list(tmp_path.glob("*.safetensors"))) == 3
    again = Ring(tmp_path, 3, seed=1)
    assert again.made() == 5
    kept = {patch.images.tobytes() for patch in again.take(Draw(0), 40)}
    assert kept == {tiny_patch(seed).images.tobytes() for seed in seen[2:]}


def test_the_ring_is_filled_by_a_process_of_its_own_which_ends_with_the_run(tmp_path):
    ring = Ring(tmp_path, 4, seed=1)
    with filled(ring, tiny_patch, enough=2):
        assert len(ring.take(Draw(0), 2)) == 2
    made = ring.made()
    time.sleep(0.3)
    assert ring.made() == made


def test_lesions_count_near_the_cord_and_grey_matter_where_it_is_known():
    patch = tiny_patch(1)
    example = lesion_example([patch], Draw(0), Dropout())
    lesion, cord, grey = example.weight[0]
    assert lesion[example.target[0, 0] > 0.5].all()
    assert cord.all()
    assert not grey.any()
    known = lesion_example([replace(patch, grey=patch.cord)], Draw(0), Dropout())
    assert ((known.weight[0, 2] > 0) == (known.target[0, 1] > 0.5)).all()
    far = replace(patch, cord=np.where(np.arange(8) < 2, patch.cord, 0).astype(np.float16))
    assert 0 < float(lesion_example([far], Draw(0), Dropout()).weight[0, 0].mean()) < 0.8


def test_a_frozen_encoder_stays_as_it_is(tmp_path):
    config = TrainConfig(
        NetworkConfig(6, (4, 8), OUTPUTS, sharing="nothing"), 6, "frozen-encoder", batch=2, average=0
    )
    start = Run(config).network
    done = train(config, TINY, tmp_path, start=start).network
    for before, after in zip(start.encoders.parameters(), done.encoders.parameters(), strict=True):
        torch.testing.assert_close(after[0], before[0], rtol=0, atol=0)
        assert not torch.equal(after[1], before[1])


def test_a_run_that_begins_with_weights_goes_on_from_their_step(tmp_path):
    config = TrainConfig(NetworkConfig(6, (4, 8), OUTPUTS), 1000, batch=2)
    start = Run(config).network
    run = train(config, TINY, tmp_path, stop_at=902, start=start, begin_at=900)
    assert run.step == 902
    assert run.rate() < 0.01 * config.learning_rate
    assert train(config, TINY, tmp_path, stop_at=903).first == 900


def test_soft_dice_of_a_perfect_answer_is_almost_0():
    target = torch.zeros(1, 4, 4, 4)
    target[0, 1:3] = 1
    seen = torch.ones_like(target)
    assert float(dice((target * 2 - 1) * 50, target, seen)) < 0.01
    assert float(dice((1 - target * 2) * 50, target, seen)) > 0.9


def test_training_learns_and_resumes_exactly(tmp_path):
    config = TrainConfig(
        NetworkConfig(6, (4, 8), OUTPUTS), steps=60, batch=2, save_every=8, learning_rate=2e-2
    )
    whole = train(config, TINY, tmp_path / "whole")
    losses = np.loadtxt(tmp_path / "whole" / "log.tsv", skiprows=1, usecols=1)
    assert losses[-10:].mean() < 0.9 * losses[:10].mean()
    train(config, TINY, tmp_path / "parts", stop_at=16)
    resumed = train(config, TINY, tmp_path / "parts")
    for a, b in zip(whole.average.parameters(), resumed.average.parameters(), strict=True):
        torch.testing.assert_close(a, b)
    again = np.loadtxt(tmp_path / "parts" / "log.tsv", skiprows=1, usecols=1)
    np.testing.assert_allclose(again, losses, rtol=1e-4)


def test_operating_point_counts_lesions_and_false_ones():
    lesion = np.zeros((12, 12, 12), bool)
    lesion[2:6, 2:6, 2:6] = True
    good = np.where(lesion, 0.85, 0.0).astype(np.float32)
    stray = good.copy()
    stray[9:11, 9:11, 9:11] = 0.55
    noise = np.zeros_like(good)
    noise[9:11, 9:11, 9:11] = 0.55
    maps = [Map(stray, lesion), Map(noise, np.zeros_like(lesion))]
    points = {astuple(point.setting)[:3]: point for point in measure(maps)}
    low = points[0.5, 0.0, 0.0]
    assert low.false_per_sample == 1
    assert low.counts == (1, 0, 1, 2)
    assert points[0.5, 0.0, 0.8].counts == (1, 0, 1, 0)
    assert points[0.5, 3.0, 0.0].counts == (1, 0, 1, 0)
    assert points[0.5, 0.0, 0.9].counts == (0, 1, 0, 0)
    assert points[0.6, 0.0, 0.0].counts == (1, 0, 1, 0)


def pieces(right: float, wrong: float, several: bool, count: int) -> list[Map]:
    """Return samples with a lesion that is found with one mean probability, and as many without in which nothing is."""
    lesion = np.zeros((12, 12, 12), bool)
    lesion[2:7, 2:7, 2:7] = True
    value = [np.where(lesion, mean, 0.0).astype(np.float32) for mean in (right, wrong)]
    return [
        *[Map(value[0], lesion, several)] * count,
        *[Map(value[1], np.zeros_like(lesion), several)] * count,
    ]


def test_one_and_several_sequences_have_a_least_mean_of_their_own():
    """False pieces of one sequence are as probable as true ones of several: no mean serves both."""
    one, several = pick(pieces(0.9, 0.75, False, 40) + pieces(0.75, 0.61, True, 40))
    assert one.setting.threshold == several.setting.threshold
    assert 0.75 < one.setting.least_mean <= 0.9
    assert 0.61 < several.setting.least_mean <= 0.75
    assert one.counts == several.counts == (40, 0, 40, 0)
    assert one.false_per_sample == several.false_per_sample == 0


def test_too_few_samples_of_a_kind_have_no_choice_of_their_own():
    one, several = pick(pieces(0.9, 0.75, False, 40) + pieces(0.75, 0.61, True, 5))
    assert one.setting == several.setting
    assert one.setting.least_mean > 0.75
    assert several.counts.found == 0


def test_where_nothing_is_quiet_the_quietest_is_chosen():
    """Half of the lesion-free samples hold what no setting leaves out; the other half need not be marked."""
    maps = [
        one for several in (False, True) for wrong in (0.99, 0.75) for one in pieces(0.9, wrong, several, 40)
    ]
    one, several = pick(maps)
    assert one.false_per_sample == several.false_per_sample == 0.5
    assert one.counts.missed == several.counts.missed == 0


def test_a_ring_of_another_kind_is_refused(tmp_path):
    with filled(Ring(tmp_path, 4, 1, "cords"), tiny_patch, enough=1):
        pass
    with (
        pytest.raises(UsageError, match="holds samples for cords, not for lesions"),
        filled(Ring(tmp_path, 4, 1, "lesions"), tiny_patch),
    ):
        pass


def test_a_checkpoint_of_another_network_is_refused(tmp_path):
    config = TrainConfig(NetworkConfig(6, (4, 8), OUTPUTS), 4, batch=2)
    train(config, TINY, tmp_path, stop_at=1)
    with pytest.raises(UsageError, match="another network"):
        train(replace(config, network=NetworkConfig(6, (4, 12), OUTPUTS)), TINY, tmp_path)
