"""The training loop: one loop, visible, that resumes where it stopped."""

from __future__ import annotations

import copy
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from ..model.network import MultiSequenceNet, NetworkConfig
from ..simulate.draw import Draw
from ..simulate.patches import Patch
from .losses import loss_of
from .samples import Example, Pool

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class TrainConfig:
    """Everything that decides a run, but for the machine.

    Attributes
    ----------
    steps : int
        Total; the learning rate falls to 0 over the last 40 %.
    untie_at : int
        Step from which every slot has its own encoder; until then they share one.
    visible_until : int
        Until this step a label is what the shown sequences show, then what any acquired one shows.
    """

    network: NetworkConfig
    steps: int
    untie_at: int = 0
    visible_until: int = 0
    batch: int = 4
    seed: int = 0
    learning_rate: float = 2e-3
    weight_decay: float = 1e-2
    clip: float = 5.0
    average: float = 0.995
    pool_width: int = 400
    pool_per_step: float = 1.5
    save_every: int = 50


class Run:
    """State of a training run: network, its moving average, optimiser and step."""

    def __init__(self, config: TrainConfig) -> None:
        torch.manual_seed(config.seed)
        self.config = config
        self.network = MultiSequenceNet(config.network, tied=config.untie_at > 0 and config.network.slots > 1)
        self.average = copy.deepcopy(self.network)
        self.step = 0
        self.optimiser = self._optimiser()

    def _optimiser(self) -> torch.optim.Optimizer:
        return torch.optim.AdamW(
            self.network.parameters(), lr=self.config.learning_rate, weight_decay=self.config.weight_decay
        )

    def untie(self) -> None:
        """Give every slot its own encoder from here on."""
        self.network.untie()
        self.average.untie()
        self.optimiser = self._optimiser()

    def rate(self) -> float:
        """Return the learning rate of the current step: a short warm-up, a plateau, a line down to 0."""
        left = (self.config.steps - self.step) / (0.4 * self.config.steps)
        since = self.step - self.config.untie_at if self.step >= self.config.untie_at else self.step
        return self.config.learning_rate * max(0.0, min(1.0, left)) * min(1.0, (since + 1) / 30)

    def save(self, path: Path) -> None:
        """Write a checkpoint atomically."""
        state = {
            "network": self.network.state_dict(),
            "average": self.average.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "step": self.step,
        }
        part = path.with_suffix(".part")
        torch.save(state, part)
        part.replace(path)

    def resume(self, path: Path) -> None:
        """Go on from a checkpoint."""
        state = torch.load(path, weights_only=True)
        self.step = int(state["step"])
        if self.network.tied and self.step > self.config.untie_at:
            self.untie()
        self.network.load_state_dict(state["network"])
        self.average.load_state_dict(state["average"])
        self.optimiser.load_state_dict(state["optimiser"])

    def learn(self, example: Example) -> float:
        """Take one step; returns the loss."""
        for group in self.optimiser.param_groups:
            group["lr"] = self.rate()
        self.network.train()
        with torch.autocast(example.target.device.type, torch.bfloat16):
            logits = self.network(example.batch)
        loss = loss_of(logits, example, self.config.network.outputs)
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), self.config.clip)
        self.optimiser.step()
        # A young average would hold on to the random start.
        keep = min(self.config.average, (1 + self.step) / (10 + self.step))
        with torch.no_grad():
            for mean, value in zip(self.average.parameters(), self.network.parameters(), strict=True):
                mean.lerp_(value, 1 - keep)
        self.step += 1
        return float(loss.detach())


def train(
    config: TrainConfig,
    make_patch: Callable[[int], Patch],
    collate: Callable[[list[Patch], Draw, bool], Example],
    folder: Path,
    deadline: float | None = None,
    stop_at: int | None = None,
) -> Run:
    """Train until the last step, or until ``deadline`` (time.time()) or the step ``stop_at``.

    A run found in ``folder/checkpoint.pt`` goes on.
    """
    folder.mkdir(parents=True, exist_ok=True)
    run = Run(config)
    checkpoint = folder / "checkpoint.pt"
    if checkpoint.exists():
        run.resume(checkpoint)
        log.info("resumed at step %d", run.step)
    pool = Pool(make_patch, config.seed, config.pool_width, config.pool_per_step)
    table = (folder / "log.tsv").open("a", encoding="utf-8")
    if run.step == 0:
        table.write("step\tloss\trate\tseconds\n")
    last = config.steps if stop_at is None else min(stop_at, config.steps)
    while run.step < last and (deadline is None or time.time() < deadline):
        if run.network.tied and run.step == config.untie_at:
            run.untie()
        began = time.time()
        patches, draw = pool.take(run.step, config.batch)
        loss = run.learn(collate(patches, draw, run.step < config.visible_until))
        table.write(f"{run.step}\t{loss:.5f}\t{run.rate():.2e}\t{time.time() - began:.2f}\n")
        if run.step % config.save_every == 0 or run.step == config.steps:
            table.flush()
            run.save(checkpoint)
            log.info(
                "step %d of %d, loss %.3f, %.1f s a step", run.step, config.steps, loss, time.time() - began
            )
    run.save(checkpoint)
    table.close()
    return run
