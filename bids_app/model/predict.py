"""Run a network over many windows: one by one on a CPU, together on a GPU, in smaller pieces where memory runs out."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

from ..errors import UnitError
from .network import Batch, Fused, MultiSequenceNet

log = logging.getLogger(__name__)

#: Windows that a GPU takes at once; a CPU is fastest with one.
TOGETHER = 16


@dataclass(frozen=True, eq=False)
class Sample:
    """One window: the sequences that show something of it.

    Attributes
    ----------
    images, coverage : array, shape (M, X, Y, Z), float32
    slots : tuple of int, length M
        Encoder of each image.
    """

    images: NDArray[np.float32]
    coverage: NDArray[np.float32]
    slots: tuple[int, ...]


@dataclass(frozen=True)
class Variant:
    """Another way to decode the same features.

    Attributes
    ----------
    without : frozenset of int
        Slots that are left out.
    noise : float
        Standard deviation of the noise at the bottleneck, as a share of that of the features there.
    seed : int
        Of that noise.
    """

    without: frozenset[int] = frozenset()
    noise: float = 0.0
    seed: int = 0


class Predictor:
    """A network on a device.

    Parameters
    ----------
    network : MultiSequenceNet
        Moved to the device.
    device : torch.device
        Where memory runs out for a single window, the CPU takes over for the rest of the run, and the log says so.
    """

    def __init__(self, network: MultiSequenceNet, device: torch.device) -> None:
        self.network, self.device = network.to(device), device
        #: Half precision on a GPU (bfloat16 has too few digits: probabilities would be off by more than 0.01), single on a CPU,
        #: which is the reference.
        self.half = device.type == "cuda"
        #: Brings the next windows to a GPU while it works on these.
        self.copies = torch.cuda.Stream(device) if device.type == "cuda" else None  # type: ignore[no-untyped-call]

    def __call__(self, samples: Sequence[Sample]) -> list[NDArray[np.float32]]:
        """Return the probability of the first output for each sample, shapes (X, Y, Z); all samples have one shape.

        Raises
        ------
        UnitError
            There is too little memory, also on the CPU.
        """
        found = self._all(samples)
        return self._all(samples) if self._overflowed(found) else found

    def variants(self, sample: Sample, variants: Sequence[Variant]) -> list[NDArray[np.float32] | None]:
        """Return the probability of the first output for each variant, shapes (X, Y, Z); the encoders run once.

        None where a variant leaves no sequence.

        Raises
        ------
        UnitError
            There is too little memory.
        """
        found = self._decoded(sample, variants)
        told = [one for one in found if one is not None]
        return self._decoded(sample, variants) if self._overflowed(told) else found

    def _decoded(self, sample: Sample, variants: Sequence[Variant]) -> list[NDArray[np.float32] | None]:
        try:
            with torch.inference_mode(), self._precision():
                encoded = self.network.encode(self._batch([sample]))
                # A sequence that shows nothing of the window cannot be missed in it.
                own = [replace(one, without=one.without & set(sample.slots)) for one in variants]
                fused = {
                    without: self.network.fuse(encoded, without)
                    for without in {one.without for one in own}
                    if without != set(sample.slots)
                }
                found = {
                    one: self._variant(fused[one.without], one)
                    for one in dict.fromkeys(own)
                    if one.without in fused
                }
                return [found.get(one) for one in own]
        except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
            if not _lacks_memory(error):
                raise
            raise UnitError("There was not enough memory for the network.", "Grant more memory.") from error

    def _variant(self, fused: Fused, variant: Variant) -> NDArray[np.float32]:
        noise = variant.noise * float(fused.features[-1].float().std()) if variant.noise else 0.0
        devices = [self.device] if self.device.type == "cuda" else []
        # The noise of a result must not depend on what was drawn before, nor change what is drawn after.
        with torch.random.fork_rng(devices):
            torch.manual_seed(variant.seed)
            logits = self.network.decode(fused, noise)[0, 0]
        return np.asarray(self._probability(logits).cpu().numpy())

    def _all(self, samples: Sequence[Sample]) -> list[NDArray[np.float32]]:
        together = 1 if self.device.type == "cpu" else TOGETHER
        pieces = [samples[first : first + together] for first in range(0, len(samples), together)]
        # All pieces are on their way before the first answer is waited for.
        found = [one for piece in pieces for one in self._piece(piece)]
        return [one.cpu().numpy() for one in found]

    def _overflowed(self, found: Sequence[NDArray[np.float32]]) -> bool:
        """Say whether numbers became too large for half precision; from then on it is single precision."""
        if not self.half or not any(np.isnan(one).any() for one in found):
            return False
        log.warning(
            "These weights need larger numbers than half precision has: %s works in single precision.",
            self.device,
        )
        self.half = False
        return True

    def _piece(self, samples: Sequence[Sample]) -> list[torch.Tensor]:
        try:
            return list(self._run(samples))
        except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
            if not _lacks_memory(error):
                raise
        # Outside the clause: the traceback of the error would hold on to the memory.
        if len(samples) > 1:
            half = len(samples) // 2
            return [*self._piece(samples[:half]), *self._piece(samples[half:])]
        if self.device.type == "cpu":
            raise UnitError("There was not enough memory for the network.", "Grant more memory.")
        log.warning("The memory of %s is too small for one window: the CPU takes over.", self.device)
        self.device = torch.device("cpu")
        self.network.to(self.device)
        return self._piece(samples)

    def _run(self, samples: Sequence[Sample]) -> torch.Tensor:
        """Return probabilities, shape (B, X, Y, Z), on the device."""
        batch = self._batch(samples)
        with torch.inference_mode(), self._precision():
            return self._probability(self.network(batch)[:, 0])

    def _probability(self, logits: torch.Tensor) -> torch.Tensor:
        logits = logits.float()
        # The sigmoid of what overflowed would pass for a probability.
        return torch.sigmoid(logits.masked_fill(~logits.isfinite(), torch.nan) if self.half else logits)

    def _batch(self, samples: Sequence[Sample]) -> Batch:
        return Batch(
            self._tensor([sample.images for sample in samples]),
            self._tensor([sample.coverage for sample in samples]),
            tuple(slot for sample in samples for slot in sample.slots),
            tuple(owner for owner, sample in enumerate(samples) for _ in sample.slots),
            len(samples),
        )

    def _tensor(self, arrays: Sequence[NDArray[np.float32]]) -> torch.Tensor:
        here = torch.from_numpy(np.concatenate(arrays))[:, None]
        if self.copies is None or self.device.type == "cpu":
            return here.to(self.device)
        now = torch.cuda.current_stream(self.device)
        with torch.cuda.stream(self.copies):
            there = here.pin_memory().to(self.device, non_blocking=True)
        now.wait_stream(self.copies)
        there.record_stream(now)
        return there

    def _precision(self) -> AbstractContextManager[object]:
        return (
            torch.autocast("cuda", torch.float16)
            if self.half and self.device.type == "cuda"
            else nullcontext()
        )


def _lacks_memory(error: Exception) -> bool:
    # The allocator of a CPU has no error of its own.
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or "can't allocate memory" in str(error)
