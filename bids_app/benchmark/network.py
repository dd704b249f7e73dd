"""The lesion network on the app's crop, beside nnU-Net's default network on that crop and on the volume that it is cut from."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
import torch

from .. import space
from ..cutting import Crop, simulated_crop
from ..segment import Segmenter
from ..sequences import SLOTS
from .measure import Line, alternate
from .peer import PlainUNet, Shape

#: 160 mm of cord.
LENGTH = 320
CROP: Shape = (space.CROP_VOXELS, space.CROP_VOXELS, LENGTH)
#: A sagittal scan of 64 x 128 x 160 mm at 1 x 0.5 x 0.5 mm is 64 x 256 x 320 voxels. nnU-Net's planner cuts it into windows of
#: this size with an overlap of a half: 2 x 2 x 2 of them.
WINDOW: Shape = (48, 192, 224)
WINDOWS = 8
TWO = ("T2Sag", "T2starAx")


def lines(rounds: int, out: Path) -> Iterator[Line]:
    """Yield what the network costs on a CPU."""
    del out
    jobs = {
        "two": partial(ours, TWO),
        "nnunet": partial(nnunet, CROP),
        "one": partial(ours, TWO[:1]),
        "six": partial(ours, SLOTS),
    }
    cost = alternate(jobs, rounds)
    # A window of the whole volume takes long, and is the same every time.
    window = alternate({"window": partial(nnunet, WINDOW)}, 1)["window"]
    two, whole = cost["two"], WINDOWS * window.seconds
    rounded = ", ".join(f"{value:.2f}" for value in two.rounds)
    yield Line(
        "two sequences, beside nnU-Net on the same crop", cost["nnunet"].seconds / two.seconds, "x", 4,
        detail=f"{two.seconds:.2f} CPU-s ({rounded}) and {cost['nnunet'].seconds:.2f}",
    )  # fmt: skip
    yield Line(
        "two sequences, beside nnU-Net on the uncropped volume", whole / two.seconds, "x", 35,
        detail=f"{whole:.0f} CPU-s: one window of {WINDOW} timed, times {WINDOWS}",
    )  # fmt: skip
    yield Line(
        "one sequence, as part of six", cost["one"].seconds / cost["six"].seconds, "x", 0.45, at_most=True,
        detail=f"{cost['one'].seconds:.2f} and {cost['six'].seconds:.2f} CPU-s",
    )  # fmt: skip
    yield Line(
        "memory with two sequences", two.peak_gb, "GiB", 1.5, at_most=True,
        detail=f"nnU-Net on the crop {cost['nnunet'].peak_gb:.2f} GiB",
    )  # fmt: skip


def ours(sequences: tuple[str, ...]) -> Callable[[], object]:
    """Prepare the app's segmenter on a made-up crop of some sequences."""
    torch.set_num_threads(1)
    return partial(Segmenter(torch.device("cpu")).probability, made_up(sequences))


def made_up(sequences: tuple[str, ...], length: int = LENGTH) -> Crop:
    """Return a crop of noise around a straight cord: what it costs does not depend on what it shows."""
    random = np.random.default_rng(0)
    shape = (len(sequences), *CROP[:2], length)
    i, j = np.meshgrid(*[np.arange(space.CROP_VOXELS) - (space.CROP_VOXELS - 1) / 2] * 2, indexing="ij")
    cord = np.repeat((np.hypot(i / 13, j / 10) <= 1)[..., None], length, axis=2).astype(np.float32)
    images = 100 + random.normal(0, 5, shape).astype(np.float32)
    return simulated_crop(images, np.ones(shape, bool), cord, sequences)


def nnunet(shape: Shape) -> Callable[[], object]:
    """Prepare nnU-Net's network, as it runs on CPUs: single precision, no mirroring."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    return partial(_infer, PlainUNet(len(TWO), shape).eval(), torch.randn(1, len(TWO), *shape))


def _infer(network: PlainUNet, image: torch.Tensor) -> torch.Tensor:
    with torch.inference_mode():
        return torch.as_tensor(network(image))
