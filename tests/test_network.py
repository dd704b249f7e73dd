from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch

from bids_app.cards import SHIPPED
from bids_app.errors import EnvironmentFault
from bids_app.files import checksum
from bids_app.model import checkpoint
from bids_app.model.blocks import convolve
from bids_app.model.imputation import MeanImputation, SlotFeatures
from bids_app.model.network import Batch, MultiSequenceNet, NetworkConfig, shortened

CONFIG = NetworkConfig(6, (4, 8, 12), ("lesion", "cord"))
SIZE = (8, 8, 16)


@pytest.fixture
def network() -> MultiSequenceNet:
    torch.manual_seed(0)
    return MultiSequenceNet(CONFIG).eval()


def batch_of(slots: tuple[int, ...], seed: int = 0, coverage: torch.Tensor | None = None) -> Batch:
    generator = torch.Generator().manual_seed(seed)
    images = torch.randn((len(slots), 1, *SIZE), generator=generator)
    cover = torch.ones_like(images) if coverage is None else coverage
    return Batch(images, cover, slots, (0,) * len(slots), 1)


def naive_fusion(
    fusion: MeanImputation, features: dict[int, torch.Tensor], available: dict[int, torch.Tensor]
) -> torch.Tensor:
    """Concatenate all slots, the missing ones filled with the mean, and convolve: what the fast way must equal."""
    total = sum(available[s] * features[s] for s in features)
    mean = total / sum(available.values()).clamp(min=1e-3)
    slots = [
        available[s] * features[s] + (1 - available[s]) * mean if s in features else mean
        for s in range(len(fusion.weight))
    ]
    weight = fusion.weight.permute(1, 0, 2).reshape(fusion.weight.shape[1], -1)
    return torch.einsum("oc,bcxyz->boxyz", weight, torch.cat(slots, dim=1)) + fusion.bias[:, None, None, None]


@pytest.mark.parametrize("present", [(0,), (2,), (0, 2), (0, 1, 2, 3, 4, 5)])
@pytest.mark.parametrize("partial", [False, True])
def test_fast_fusion_equals_concatenation_with_means(present, partial):
    torch.manual_seed(1)
    fusion = MeanImputation(6, 5)
    torch.nn.init.normal_(fusion.bias)
    features = {s: torch.randn(1, 5, 4, 4, 4) for s in present}
    available = {s: torch.ones(1, 1, 4, 4, 4) for s in present}
    if partial:
        for n, s in enumerate(present):
            available[s][..., n:] = torch.rand(1)
    torch.nn.init.normal_(fusion.weight)
    items = SlotFeatures(
        torch.tensor(present),
        torch.zeros(len(present), dtype=torch.long),
        torch.cat([features[s] for s in present]),
        torch.cat([available[s] for s in present]),
    )
    torch.testing.assert_close(
        fusion(items, 1), naive_fusion(fusion, features, available), atol=1e-4, rtol=1e-4
    )


def of_slot(network: MultiSequenceNet, slot: int) -> list[torch.nn.Parameter]:
    """Return the parameters that hold something of one sequence, whatever else they hold."""
    return [p for p in network.encoders.parameters() if len(p) == network.config.slots]


@pytest.mark.parametrize("sharing", ["kernels", "nothing"])
def test_absent_encoders_get_no_gradient(sharing):
    torch.manual_seed(0)
    network = MultiSequenceNet(replace(CONFIG, sharing=sharing))
    network(batch_of((0, 2))).square().sum().backward()
    for parameter in of_slot(network, 0):
        rows = parameter.grad.flatten(1).abs().sum(dim=1)
        assert (rows[[1, 3, 4, 5]] == 0).all()
        assert (rows[[0, 2]] > 0).all()


@pytest.mark.parametrize("sharing", ["kernels", "nothing"])
def test_one_sequence_does_not_depend_on_other_encoders(sharing):
    torch.manual_seed(0)
    network = MultiSequenceNet(replace(CONFIG, sharing=sharing)).eval()
    before = network(batch_of((0,)))
    with torch.no_grad():
        for parameter in of_slot(network, 0):
            parameter[1:] = torch.randn_like(parameter[1:])
        torch.testing.assert_close(network(batch_of((0,))), before)
        of_slot(network, 0)[0][0] += torch.randn_like(of_slot(network, 0)[0][0])
    assert (network(batch_of((0,))) - before).abs().max() > 1e-4


def test_sequences_with_dark_lesions_begin_with_the_sign_turned():
    torch.manual_seed(0)
    network = MultiSequenceNet(replace(CONFIG, dark=(3,))).eval()
    bright, dark = batch_of((0,)), batch_of((3,))
    turned = Batch(-bright.images, bright.coverage, (3,), (0,), 1)
    torch.testing.assert_close(network(turned), network(bright), atol=1e-5, rtol=1e-4)
    assert (network(dark) - network(bright)).abs().max() > 1e-3


def test_the_network_may_take_neighbours_along_the_cord_together(network):
    short = MultiSequenceNet(replace(CONFIG, along=2)).eval()
    short.load_state_dict(network.state_dict())
    base = batch_of((0, 2))
    assert short(base).shape == network(base).shape
    pooled = Batch(
        torch.nn.functional.avg_pool3d(base.images, (1, 1, 2)),
        base.coverage[..., ::2],
        base.slot,
        base.owner,
        1,
    )
    expected = torch.nn.functional.interpolate(network(pooled), scale_factor=(1, 1, 2), mode="trilinear")
    torch.testing.assert_close(short(base), expected, atol=1e-5, rtol=1e-4)
    # What is not covered takes no part in a mean.
    cover = base.coverage.clone()
    cover[0, ..., 1::2] = 0
    half = Batch(base.images * cover, cover, base.slot, base.owner, 1)
    images, covered = shortened(half, 2)
    torch.testing.assert_close(images[0], half.images[0, ..., ::2])
    assert (covered == 1).all()


def test_every_available_sequence_matters(network):
    base = batch_of((0, 2))
    changed = Batch(base.images.clone(), base.coverage, base.slot, base.owner, 1)
    changed.images[1] *= -1
    assert (network(base) - network(changed)).abs().max() > 1e-4


def test_order_of_rows_does_not_matter(network):
    base = batch_of((0, 2, 4))
    order = [2, 0, 1]
    turned = Batch(
        base.images[order], base.coverage[order], tuple(base.slot[n] for n in order), base.owner, 1
    )
    torch.testing.assert_close(network(base), network(turned), atol=1e-5, rtol=1e-4)


def test_samples_of_a_batch_do_not_mix(network):
    one, two = batch_of((0, 2), seed=1), batch_of((1,), seed=2)
    both = Batch(
        torch.cat([one.images, two.images]), torch.cat([one.coverage, two.coverage]), (0, 2, 1), (0, 0, 1), 2
    )
    torch.testing.assert_close(network(both), torch.cat([network(one), network(two)]), atol=1e-5, rtol=1e-4)


def test_nothing_is_seen_where_no_sequence_has_data(network):
    cover = torch.ones((2, 1, *SIZE))
    cover[..., 8:] = 0
    base = batch_of((0, 2), coverage=cover)
    base.images.mul_(cover)
    far = network(base)[..., 12:]
    assert (far == network.decoder.head.bias[None, :, None, None, None]).all()
    assert torch.isfinite(network(base)).all()


def test_weights_come_back_and_changed_files_are_refused(tmp_path, network):
    path = tmp_path / "a.safetensors"
    checkpoint.save(path, network, {"name": "test"})
    loaded = checkpoint.load(path)
    assert loaded.card.record["name"] == "test"
    difference = (loaded.network(batch_of((0, 2))) - network(batch_of((0, 2)))).abs().max()
    assert difference < 0.05
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with pytest.raises(EnvironmentFault, match="SHA-256"):
        checkpoint.load(path)
    card = json.loads(path.with_suffix(".json").read_text())
    card["sha256"] = checksum(path)
    card["network"]["channels"] = [4, 8]
    path.with_suffix(".json").write_text(json.dumps(card))
    with pytest.raises(EnvironmentFault, match="cannot be used"):
        checkpoint.load(path)
    with pytest.raises(EnvironmentFault, match="cannot be used"):
        checkpoint.load(tmp_path / "absent.safetensors")


@pytest.mark.parametrize("task", ["lesion", "cord", "overview"])
def test_shipped_weights_load_and_say_where_they_come_from(task):
    weights = checkpoint.load(SHIPPED / f"{task}.safetensors")
    assert "simulated" in str(weights.card.record["data"])
    assert "not for diagnosis" in str(weights.card.record["notice"])
    assert sum(p.numel() for p in weights.network.parameters()) <= 18_000_000
    for field in ("method", "geometry", "training", "commit", "licence", "version"):
        assert weights.card.record[field]
    assert "Interim" not in str(weights.card.record)


def test_the_lesion_model_brings_its_operating_point():
    card = checkpoint.load(SHIPPED / "lesion.safetensors").card.record
    assert 0 < card["operating_point"]["threshold"] < 1
    assert card["operating_point"]["minimum_volume_mm3"] >= 0
    assert "simulated" in card["operating_point"]["chosen_on"]


def test_shipped_weights_fit_in_40_megabytes():
    assert sum(path.stat().st_size for path in SHIPPED.iterdir()) <= 40_000_000


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("inputs", [1, 8])
def test_one_sample_is_convolved_as_several_are(inputs, stride):
    torch.manual_seed(0)
    x, weight, bias = torch.randn(2, inputs, 12, 10, 14), torch.randn(6, inputs, 3, 3, 3), torch.randn(6)
    with torch.inference_mode():
        both = torch.nn.functional.conv3d(x, weight, bias, stride, 1)
        for given in (bias, None):
            ours = convolve(x[:1], weight, given, stride)
            expected = both[:1] if given is not None else both[:1] - bias[:, None, None, None]
            torch.testing.assert_close(ours, expected, atol=1e-4, rtol=1e-4)
    learning = weight.requires_grad_()
    assert convolve(x[:1], learning, bias, stride).requires_grad
