"""The mean of weights that began alike, and its card."""

from __future__ import annotations

import json

import pytest
import torch

from bids_app.errors import UsageError
from bids_app.model import checkpoint
from bids_app.model.network import MultiSequenceNet, NetworkConfig
from bids_app.train import average, operating

SHAPE = NetworkConfig(6, (4, 8), ("lesion", "cord"))


def write(path, value, data="simulated spinal cords", shape=SHAPE):
    network = MultiSequenceNet(shape)
    for parameter in network.parameters():
        torch.nn.init.constant_(parameter, value)
    card = {
        "name": "test", "data": data, "note": "", "training": {"steps_done": 3},
        "calibration": {"temperature": 1, "offset": 0},
    }  # fmt: skip
    checkpoint.save(path, network, card)
    return path


def test_every_weight_is_the_mean_and_the_card_names_the_parts(tmp_path, monkeypatch):
    monkeypatch.setattr("bids_app.train.average.choose", lambda *args, **more: {"threshold": 0.5})
    a, b = (
        write(tmp_path / "a.safetensors", 0.25),
        write(tmp_path / "b.safetensors", 0.75, "real backgrounds"),
    )
    out = tmp_path / "mean.safetensors"
    assert average.main([str(out), str(a), str(b), "--data", "both", "--note", "a note"]) == 0
    loaded = checkpoint.load(out)
    assert all((parameter == 0.5).all() for parameter in loaded.network.parameters())
    card = loaded.card.record
    assert [part["data"] for part in card["mean_of"]] == ["simulated spinal cords", "real backgrounds"]
    assert (card["data"], card["note"], card["operating_point"]) == ("both", "a note", {"threshold": 0.5})
    assert "Trained on both." in card["notice"]
    assert "calibration" not in card
    # A mean of means names all that it came from.
    twice = tmp_path / "twice.safetensors"
    assert average.main([str(twice), str(out), str(a), "--data", "both"]) == 0
    first, second = checkpoint.load(twice).card.record["mean_of"]
    assert first["mean_of"] == card["mean_of"]
    assert "mean_of" not in second


def test_what_the_parts_learned_from_must_be_named_where_they_disagree(tmp_path, capsys):
    paths = [write(tmp_path / "a.safetensors", 0), write(tmp_path / "b.safetensors", 0, "real backgrounds")]
    assert average.main([str(tmp_path / "mean.safetensors"), *map(str, paths)]) == 2
    assert "--data" in capsys.readouterr().err
    assert average.agreed([checkpoint.load(paths[0])] * 2) == "simulated spinal cords"


def test_an_operating_point_is_chosen_anew(tmp_path, capsys):
    weights = write(tmp_path / "a.safetensors", 0.25)
    before = weights.read_bytes()
    call = [str(weights), "--validation", "3", "--samples", str(tmp_path / "samples")]
    assert operating.main(call) == 0
    card = checkpoint.load(weights).card
    assert card.record["operating_point"]["chosen_on"].startswith("3 simulated samples")
    # Nothing is chosen for several sequences alone on so few.
    assert card.operating().least_mean == card.operating().least_mean_several
    assert card.record["name"] == "test"
    assert card.calibration is None
    assert weights.read_bytes() == before
    assert len(list((tmp_path / "samples" / "validation-lesion").iterdir())) == 3
    assert json.loads(capsys.readouterr().out) == card.record["operating_point"]
    assert operating.main([str(tmp_path / "none.safetensors")]) == 5


def test_networks_of_different_shapes_have_no_mean(tmp_path):
    other = NetworkConfig(6, (4, 16), ("lesion", "cord"))
    paths = [write(tmp_path / "a.safetensors", 0), write(tmp_path / "b.safetensors", 0, shape=other)]
    with pytest.raises(UsageError, match="different shapes"):
        average.mean([checkpoint.load(path) for path in paths])
    assert json.loads(paths[0].with_suffix(".json").read_text())["network"]["channels"] == [4, 8]
