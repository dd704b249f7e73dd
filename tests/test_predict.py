"""Windows together or one by one, and what happens where memory runs out."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from bids_app.benchmark.gpu import with_lesions
from bids_app.errors import UnitError
from bids_app.model import predict
from bids_app.model.network import Batch, MultiSequenceNet, NetworkConfig
from bids_app.model.predict import Predictor, Sample, Variant
from bids_app.segment import Segmenter

SHAPE = (8, 8, 16)


class Cramped(MultiSequenceNet):
    """A network for which more than ``room`` windows are too many, and which notes how many it was given."""

    room = 99
    reason: Exception = torch.OutOfMemoryError("no room")

    def forward(self, batch: Batch) -> torch.Tensor:
        self.__dict__.setdefault("seen", []).append(batch.size)
        if batch.size > self.room:
            raise self.reason
        return super().forward(batch)


@pytest.fixture
def network() -> Cramped:
    torch.manual_seed(0)
    return Cramped(NetworkConfig(6, (4, 8, 12), ("lesion", "cord"))).eval()


@pytest.fixture
def samples() -> list[Sample]:
    random = np.random.default_rng(0)
    slots = [(0,), (0, 2), (4,), (1, 2, 5), (0, 3)]
    coverage = np.ones(SHAPE, np.float32)
    coverage[..., 10:] = 0
    return [
        Sample(
            random.normal(size=(len(own), *SHAPE)).astype(np.float32) * coverage,
            np.stack([coverage] * len(own)),
            own,
        )
        for own in slots
    ]


class OnGpu(Predictor):
    """Does on the CPU what is done on a GPU: windows together, until memory runs out."""

    def __init__(self, network: MultiSequenceNet, half: bool = False) -> None:
        super().__init__(network, torch.device("cpu"))
        self.device = torch.device("cuda")
        self.half = half

    def _precision(self):
        return torch.autocast("cpu", torch.float16, enabled=self.half)

    def _tensor(self, arrays):
        return torch.from_numpy(np.concatenate(arrays))[:, None]


def test_windows_together_give_what_they_give_alone(network, samples):
    alone = Predictor(network, torch.device("cpu"))(samples)
    assert network.seen == [1] * 5
    together = OnGpu(network)(samples)
    assert network.seen[5:] == [5]
    for one, other in zip(alone, together, strict=True):
        assert one.shape == SHAPE
        assert one.std() > 0
        np.testing.assert_allclose(one, other, atol=1e-5)


def test_fewer_windows_where_memory_runs_out(network, samples, caplog):
    expected = Predictor(network, torch.device("cpu"))(samples)
    network.room, network.seen = 2, []
    predictor = OnGpu(network)
    found = predictor(samples)
    assert network.seen == [5, 2, 3, 1, 2]
    np.testing.assert_allclose(np.stack(found), np.stack(expected), atol=1e-5)
    assert predictor.device.type == "cuda"
    assert not caplog.records


def test_the_cpu_takes_over_where_one_window_is_too_much_and_the_log_says_so(network, samples, caplog):
    expected = Predictor(network, torch.device("cpu"))(samples)
    predictor = OnGpu(network)
    network.room = 0

    def move(device):
        network.room = 99
        return network

    network.to = move
    found = predictor(samples[:1])
    assert predictor.device.type == "cpu"
    assert "the CPU takes over" in caplog.text
    np.testing.assert_allclose(found[0], expected[0], atol=1e-5)


@pytest.mark.parametrize(
    "reason", [MemoryError(), RuntimeError("DefaultCPUAllocator: can't allocate memory: 9 bytes")]
)
def test_too_little_memory_on_a_cpu_fails_the_unit_in_words(network, samples, reason):
    network.room, network.reason = 0, reason
    with pytest.raises(UnitError, match="not enough memory"):
        Predictor(network, torch.device("cpu"))(samples)


def test_half_precision_keeps_the_probabilities_of_the_weights_that_ship():
    """On a simulated cord in which something is found; bfloat16 fails this."""
    reference = Segmenter(torch.device("cpu"))
    crop, expected = with_lesions(reference, 64)
    half = Segmenter(torch.device("cpu"))
    half.predictor = OnGpu(half.weights.network, half=True)
    assert np.abs(half.probability(crop) - expected).max() < 1e-2
    assert half.predictor.half


def test_single_precision_takes_over_where_numbers_become_too_large_and_the_log_says_so(
    network, samples, caplog
):
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if name.startswith("encoders"):
                parameter.mul_(30)
            elif name.startswith("decoder.head"):
                parameter.mul_(1e-6)
    expected = Predictor(network, torch.device("cpu"))(samples)
    predictor = OnGpu(network, half=True)
    np.testing.assert_allclose(predictor(samples), expected, atol=1e-3)
    assert caplog.text.count("single precision") == 1
    assert not predictor.half
    variants = [Variant(), Variant(frozenset({2}))]
    wanted = Predictor(network, torch.device("cpu")).variants(samples[1], variants)
    predictor = OnGpu(network, half=True)
    # Without a GPU there is no state of its random numbers to keep.
    predictor.device = torch.device("cpu")
    found = predictor.variants(samples[1], variants)
    np.testing.assert_allclose(found, wanted, atol=1e-3)
    assert caplog.text.count("single precision") == 2


def test_a_defect_is_not_taken_for_a_lack_of_memory(network, samples):
    network.room, network.reason = 0, RuntimeError("shapes do not match")
    with pytest.raises(RuntimeError, match="shapes"):
        Predictor(network, torch.device("cpu"))(samples)


def test_nothing_to_look_at(network):
    assert Predictor(network, torch.device("cpu"))([]) == []


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_half_precision_on_a_gpu_is_close_to_single_on_a_cpu(network, samples):
    expected = np.stack(Predictor(network, torch.device("cpu"))(samples))
    found = np.stack(Predictor(network, torch.device("cuda"))(samples))
    assert len(samples) <= predict.TOGETHER
    np.testing.assert_allclose(found, expected, atol=1e-2)
