"""The benchmark: its arithmetic, and the shape of the peer. What it measures is not tested: it depends on the machine."""

from __future__ import annotations

import time
from functools import partial

import numpy as np
import pytest
import torch

from bids_app.benchmark import gpu, runtime, scale
from bids_app.benchmark.__main__ import HEADINGS, draw
from bids_app.benchmark.indexing import make_dataset, one_participant
from bids_app.benchmark.measure import Line, alternate
from bids_app.benchmark.network import CROP, made_up
from bids_app.benchmark.peer import FEATURES, PlainUNet, _strides
from bids_app.cutting import WINDOW
from bids_app.model.predict import Predictor, Sample
from bids_app.segment import cord_zone


def busy(seconds, megabytes):
    """Prepare work that takes CPU time and memory."""

    def work():
        kept = np.ones(megabytes * 2**17)
        end = time.process_time() + seconds
        while time.process_time() < end:
            pass
        return kept

    return work


def test_time_and_memory_are_those_of_each_job():
    cost = alternate({"short": partial(busy, 0.02, 1), "long": partial(busy, 0.2, 300)}, 2)
    assert len(cost["short"].rounds) == 2
    assert 0.02 <= cost["short"].seconds < 0.15
    assert 0.2 <= cost["long"].seconds < 0.5
    assert 0.2 < cost["long"].peak_gb - cost["short"].peak_gb < 0.4


@pytest.mark.parametrize(
    ("value", "at_most", "met"), [(3, False, True), (1.9, False, False), (3, True, False), (2, True, True)]
)
def test_a_target_is_met_from_its_side(value, at_most, met, tmp_path):
    line = Line("something", value, "x", 2, at_most)
    assert line.met == met
    assert len(line.cells()) == len(HEADINGS)
    assert line.cells()[3] == ("met" if met else "NOT met")
    draw([line], tmp_path / "picture.svg")
    assert (tmp_path / "picture.svg").read_text().count("<path") > 5


def test_the_peer_has_the_size_of_nnunet():
    assert _strides((64, 64, 256))[-1] == (1, 1, 2)
    parameters = sum(p.numel() for p in PlainUNet(1, (128, 128, 128)).parameters())
    # 30.7 million for one input and deep supervision's five heads, which are left out here.
    assert 30.0e6 < parameters < 31.2e6
    with torch.inference_mode():
        assert PlainUNet(2, (16, 16, 32)).eval()(torch.zeros(1, 2, 16, 16, 32)).shape == (1, 2, 16, 16, 32)
    assert len(FEATURES) == 6


def test_the_crop_and_the_dataset_are_what_they_are_called(tmp_path):
    crop = made_up(("T2Sag", "T1"))
    assert crop.images.shape == (2, *CROP)
    assert cord_zone(crop.cord).any(axis=(0, 1)).all()
    make_dataset(tmp_path / "many", 3)
    (tmp_path / "many" / "sub-0001").rename(tmp_path / "many" / "sub-0500")
    for path in (tmp_path / "many" / "sub-0500" / "anat").iterdir():
        path.rename(path.with_name(path.name.replace("0001", "0500")))
    found = one_participant(tmp_path / "many")()
    assert found.participants == ("0500",)
    assert len(found.images) == 5


def test_what_is_measured_on_a_gpu_is_measured_on_any_device():
    found = {line.name: line for line in gpu.measure(torch.device("cpu"), 1, (48, 48, 64), 128)}
    assert len(found) == 6
    dice = found["GPU: Dice with the mask of a CPU"]
    assert dice.value == 1
    assert dice.detail != "0 voxels"
    assert found["GPU: largest difference of a probability"].value == 0
    assert all(line.value > 0 for name, line in found.items() if "difference" not in name)


def test_a_window_is_the_networks_answer_and_other_runtimes_are_named_where_they_are_not(
    monkeypatch, caplog, tmp_path
):
    images = np.random.default_rng(0).normal(size=(2, *WINDOW)).astype(np.float32)
    window, inputs = runtime._window()
    sample = Sample(images, np.ones_like(images), runtime.SLOTS_OF_TWO)
    with torch.inference_mode():
        found = window(torch.from_numpy(images)[:, None], inputs[1])[0].numpy()
    np.testing.assert_allclose(found, Predictor(window.network, torch.device("cpu"))([sample])[0], atol=1e-6)
    monkeypatch.setattr(runtime, "find_spec", lambda name: None)
    assert list(runtime.lines(1, tmp_path)) == []
    assert "OpenVINO is not measured: openvino is not installed." in caplog.text


def test_without_a_gpu_nothing_is_claimed_of_one(monkeypatch, caplog, tmp_path):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert list(gpu.lines(1, tmp_path)) == []
    assert "no CUDA device" in caplog.text


def test_the_copies_of_a_large_dataset_are_whole(tmp_path, monkeypatch):
    monkeypatch.setattr(scale, "PEOPLE", 1)
    scale.make_dataset(tmp_path, 3)
    names = [
        {path.name.replace(f"sub-00{n}", "") for path in (tmp_path / f"sub-00{n}").rglob("*.*")}
        for n in range(3)
    ]
    assert names[0] == names[1] == names[2] != set()
