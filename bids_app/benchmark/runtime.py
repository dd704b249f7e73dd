"""One window of the network by other runtimes, where they are installed, beside torch: whether one would be worth its weight."""

from __future__ import annotations

import logging
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from functools import partial
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ..cutting import WINDOW
from ..model.network import Batch, MultiSequenceNet
from ..segment import Segmenter
from ..sequences import SLOTS
from .measure import Job, Line, alternate
from .network import TWO

log = logging.getLogger(__name__)
#: What each runtime needs to be importable.
RUNTIMES = {
    "OpenVINO": ("openvino",), "OpenVINO in bf16": ("openvino",), "ONNX Runtime": ("onnxruntime", "onnxscript")
}  # fmt: skip
SLOTS_OF_TWO = tuple(SLOTS.index(name) for name in TWO)

Inputs = tuple[Tensor, Tensor]


class Window(nn.Module):
    """The network for two sequences that cover their whole window: tensors in, probability of a lesion out."""

    def __init__(self, network: MultiSequenceNet) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor, coverage: Tensor) -> Tensor:
        """Return the probability, shape (1, X, Y, Z), of images and coverage of shape (2, 1, X, Y, Z)."""
        return torch.sigmoid(self.network(Batch(images, coverage, SLOTS_OF_TWO, (0, 0), 1))[:, 0].float())


def lines(rounds: int, out: Path) -> Iterator[Line]:
    """Yield how much faster than torch each runtime is; a sentence for those that are not installed."""
    del out
    jobs: dict[str, Job] = {"torch": torch_window}
    for name, modules in RUNTIMES.items():
        if missing := [module for module in modules if find_spec(module) is None]:
            log.warning("%s is not measured: %s is not installed.", name, ", ".join(missing))
        else:
            jobs[name] = partial(other_window, name)
    if len(jobs) == 1:
        return
    cost = alternate(jobs, rounds)
    expected = torch_window()()
    for name in list(jobs)[1:]:
        began = time.perf_counter()
        found = other_window(name)()
        seconds = time.perf_counter() - began
        yield Line(
            f"{name}: times as fast as torch, a window with two sequences", cost["torch"].seconds / cost[name].seconds, "x", 1,
            detail=f"{cost[name].seconds:.3f} and {cost['torch'].seconds:.3f} CPU-s, {seconds:.1f} s to convert and run once, "
            f"largest difference {np.abs(found - expected).max():.1e}",
        )  # fmt: skip


def torch_window() -> Callable[[], NDArray[np.float32]]:
    """Prepare the window as the app runs it."""
    torch.set_num_threads(1)
    window, inputs = _window()

    def run() -> NDArray[np.float32]:
        with torch.inference_mode():
            return np.asarray(window(*inputs).numpy())

    return run


def other_window(name: str) -> Callable[[], NDArray[np.float32]]:
    """Prepare the window in another runtime, with one thread."""
    if name == "ONNX Runtime":
        return _onnxruntime(*_window())
    return _openvino(*_window(), "bf16" if name.endswith("bf16") else "f32")


def _window() -> tuple[Window, Inputs]:
    network = Segmenter(torch.device("cpu")).weights.network.eval()
    random = torch.Generator().manual_seed(0)
    images = torch.randn(len(TWO), 1, *WINDOW, generator=random)
    return Window(network), (images, torch.ones_like(images))


def _traced(window: Window, inputs: Inputs) -> nn.Module:
    """Return the operations of a call; with gradients, since the shortcut to oneDNN that is taken without is torch's alone."""
    with warnings.catch_warnings():
        # Sequences and coverage are constants of the trace, as they should be.
        warnings.simplefilter("ignore")
        traced: nn.Module = torch.jit.trace(window, inputs, check_trace=False)  # type: ignore[no-untyped-call]
    return traced


def _openvino(window: Window, inputs: Inputs, precision: str) -> Callable[[], NDArray[np.float32]]:
    import openvino

    model = openvino.convert_model(_traced(window, inputs), example_input=inputs)
    settings = {
        "INFERENCE_NUM_THREADS": 1, "NUM_STREAMS": 1, "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_PRECISION_HINT": precision,
    }  # fmt: skip
    compiled = openvino.compile_model(model, "CPU", settings)
    given = {number: one.numpy() for number, one in enumerate(inputs[: len(model.inputs)])}
    return lambda: np.asarray(compiled(given)[0])


def _onnxruntime(window: Window, inputs: Inputs) -> Callable[[], NDArray[np.float32]]:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "window.onnx")
        torch.onnx.export(
            _traced(window, inputs), inputs, path, dynamo=False, input_names=["images", "coverage"]
        )
        session = onnxruntime.InferenceSession(path, options)
    given = dict(
        zip((one.name for one in session.get_inputs()), (one.numpy() for one in inputs), strict=False)
    )
    return lambda: np.asarray(session.run(None, given)[0])
