"""The lesion network on a GPU: the same answer as on a CPU, crops a second, the card's peak, and nnU-Net's network beside it."""

from __future__ import annotations

import logging
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from ..cutting import Crop, simulated_crop
from ..evaluate.scores import dice
from ..segment import Segmenter
from ..sequences import SLOTS
from ..simulate.patches import make_patch
from .measure import Line
from .network import CROP, TWO
from .peer import PlainUNet, Shape

log = logging.getLogger(__name__)
#: Of the matrix product that shows what the card can do.
SIZE = 8192
WARM = 3
#: Units that are looked at together.
UNITS = 8
#: Of the simulated cord; training uses none of these.
FIRST_SEED = 8_000_000_000


def lines(rounds: int, out: Path) -> Iterator[Line]:
    """Yield what the network does on the first CUDA device; nothing, and a sentence, where there is none."""
    del out
    if not torch.cuda.is_available():
        log.warning("torch %s sees no CUDA device: nothing is measured on a GPU.", torch.__version__)
        return
    yield from measure(torch.device("cuda"), rounds)


def measure(device: torch.device, rounds: int, shape: Shape = CROP, size: int = SIZE) -> Iterator[Line]:
    """Yield the lines for a device, for crops of a shape with two sequences."""
    ours, reference = Segmenter(device), Segmenter(torch.device("cpu"))
    crop, expected = with_lesions(reference, shape[2])
    yield from _agreement(ours, reference, crop, expected)
    # Processors are slow with float16.
    precision = torch.float16 if device.type == "cuda" else torch.bfloat16
    sequences, inputs = len(TWO), torch.randn(1, len(TWO), *shape, device=device)
    network = PlainUNet(sequences, shape).eval().to(device)

    def peer() -> None:
        with torch.inference_mode(), torch.autocast(device.type, precision):
            network(inputs)

    square = torch.randn(size, size, device=device, dtype=precision)
    jobs: dict[str, Callable[[], object]] = {
        "ours": lambda: ours.probability(crop),
        "together": lambda: ours.probabilities([crop] * UNITS),
        "peer": peer,
        "product": lambda: square @ square,
    }
    times: dict[str, list[float]] = {name: [] for name in jobs}
    for _ in range(rounds):
        for name, job in jobs.items():
            times[name].append(_seconds(job, device))
    seconds = {name: statistics.median(values) for name, values in times.items()}
    peak = 2 * size**3 / seconds["product"]
    used = UNITS * _operations(ours, crop) / seconds["together"]
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else str(device)
    yield Line(
        "GPU: crops with two sequences a second", 1 / seconds["ours"], "", 1, detail=f"{name}, {seconds['ours']:.4f} s each",
    )  # fmt: skip
    yield Line(
        f"GPU: the same, {UNITS} units together, as times one by one", UNITS * seconds["ours"] / seconds["together"], "x", 1,
        detail=f"{UNITS / seconds['together']:.1f} crops a second",
    )  # fmt: skip
    yield Line(
        "GPU: beside nnU-Net on the same crop, half precision", seconds["peer"] / seconds["ours"], "x", 1,
        detail=f"{seconds['peer']:.4f} s",
    )  # fmt: skip
    yield Line(
        "GPU: part of the card's measured peak", used / peak, "x", 0.01,
        detail=f"{used / 1e12:.2f} of {peak / 1e12:.1f} TFLOP/s; crops go to the card and back within that time",
    )  # fmt: skip


def with_lesions(reference: Segmenter, length: int) -> tuple[Crop, NDArray[np.float32]]:
    """Return a simulated cord with two sequences in which the reference marks something, and its probability there."""
    for seed in range(FIRST_SEED, FIRST_SEED + 100):
        presence = {name: float(name in TWO) for name in SLOTS}
        patch = make_patch(seed, length, len(TWO), presence=presence)
        crop = simulated_crop(patch.images, patch.coverage, patch.cord, [SLOTS[slot] for slot in patch.slots])
        probability = reference.probability(crop)
        if reference.find(crop, probability=probability)[2]:
            return crop, probability
    raise RuntimeError("The weights mark nothing in any of 100 simulated cords: there is nothing to compare.")


def _agreement(
    ours: Segmenter, reference: Segmenter, crop: Crop, expected: NDArray[np.float32]
) -> Iterator[Line]:
    found = ours.probability(crop)
    a = ours.find(crop, probability=found)[1] > 0
    b = reference.find(crop, probability=expected)[1] > 0
    yield Line(
        "GPU: largest difference of a probability", float(np.abs(found - expected).max()), "", 1e-2, at_most=True,
    )  # fmt: skip
    yield Line("GPU: Dice with the mask of a CPU", dice(a, b), "", 0.999, detail=f"{int(b.sum())} voxels")


def _seconds(job: Callable[[], object], device: torch.device) -> float:
    """Return the time of one call, its work on the device included, after some that do not count."""
    for _ in range(WARM):
        job()
    _wait(device)
    began = time.perf_counter()
    job()
    _wait(device)
    return time.perf_counter() - began


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _operations(segmenter: Segmenter, crop: Crop) -> float:
    """Return the floating-point operations of a crop, counted by torch."""
    from torch.utils.flop_counter import FlopCounterMode

    # The shortcut for single windows on a CPU is unknown to the counter.
    with (
        FlopCounterMode(display=False) as counter,
        torch.autocast("cpu", torch.bfloat16, enabled=segmenter.device.type == "cpu"),
    ):
        segmenter.probability(crop)
    return float(counter.get_total_flops())
