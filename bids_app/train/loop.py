"""The training loop: one loop, visible, that resumes where it stopped. It needs torch and numpy and nothing else."""

from __future__ import annotations

import contextlib
import copy
import logging
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import distributed
from torch.nn.parallel import DistributedDataParallel

from ..errors import UsageError
from ..model.network import MultiSequenceNet, NetworkConfig
from ..simulate.draw import Draw
from ..simulate.patches import Patch
from .losses import loss_of
from .methods import METHODS, T2SAG, Dropout, Method, one_alone, t2sag_alone
from .samples import Example, Keep

log = logging.getLogger(__name__)
#: Steps over which the learning rate rises: the optimiser knows nothing at first.
WARM_UP = 100
HEADER = "step\tloss\trate\tseconds\tvalidation\n"


@dataclass(frozen=True)
class TrainConfig:
    """Everything that decides a run, but for the machine.

    Attributes
    ----------
    method : str
        A name of `methods.METHODS`.
    steps : int
        Total; the learning rate falls to 0 over the last ``decay`` of them.
    visible_until : int
        Until this step a label is what the shown sequences show, then what any acquired one shows.
    batch : int
        Samples a step in all processes together.
    average : float
        Weight of the past in the moving average of the network's weights, which is what counts in the end; 0 for none.
    patience : int
        Validations without improvement after which training stops; 0 for no early stop.
    """

    network: NetworkConfig
    steps: int
    method: str = "mean-imputation"
    visible_until: int = 0
    batch: int = 4
    seed: int = 0
    learning_rate: float = 2e-3
    weight_decay: float = 1e-2
    decay: float = 0.4
    clip: float = 5.0
    average: float = 0.995
    save_every: int = 50
    validate_every: int = 250
    patience: int = 0
    dropout: Dropout = field(default_factory=Dropout)


@dataclass(frozen=True, eq=False)
class Source:
    """What a run learns from.

    Attributes
    ----------
    take : callable
        Patches of a step, from a source of chance and their number.
    collate : callable
        Batch from patches, a source of chance, the sequence dropout, and whether labels are limited to what is shown.
    validate : callable, optional
        Score of a network, higher is better.
    held_back : tuple of Patch
        What is held back for validation.
    """

    take: Callable[[Draw, int], list[Patch]]
    collate: Callable[[list[Patch], Draw, Keep, bool], Example]
    validate: Callable[[MultiSequenceNet], float] | None = None
    held_back: tuple[Patch, ...] = ()


class Run:
    """State of a training run: network, its moving average, optimiser and step."""

    def __init__(self, config: TrainConfig, device: torch.device | None = None) -> None:
        torch.manual_seed(config.seed)
        self.config = config
        self.method: Method = METHODS[config.method]
        self.device = device or torch.device("cpu")
        self.network = MultiSequenceNet(config.network).to(self.device)
        self.average = copy.deepcopy(self.network)
        #: Steps done, and the one that this run began with.
        self.step = self.first = 0
        self.best = float("-inf")
        self.stale = 0
        self.optimiser = torch.optim.AdamW(
            self.network.parameters(),
            lr=self.config.learning_rate,
            weight_decay=self.config.weight_decay,
            fused=True,
        )
        #: In several processes, what averages gradients.
        self.parallel: torch.nn.Module = self.network
        if distributed.is_initialized():
            # What belongs to sequences without a row in a batch gets no gradient.
            self.parallel = DistributedDataParallel(self.network, find_unused_parameters=True)

    def start_from(self, network: MultiSequenceNet, step: int = 0) -> None:
        """Take over the weights of another network of the same shape, and go on from a step."""
        for own in (self.network, self.average):
            own.load_state_dict(network.state_dict())
        self.step = step
        self.first = step

    def rate(self) -> float:
        """Return the learning rate of the current step: a short warm-up, a plateau, a line down to 0."""
        left = (self.config.steps - self.step) / (self.config.decay * self.config.steps)
        warm = min(1.0, (self.step - self.first + 1) / WARM_UP)
        return self.config.learning_rate * max(0.0, min(1.0, left)) * warm

    def keep(self) -> Keep:
        """Return the sequence dropout of the current step."""
        if self.method.t2sag_only:
            return t2sag_alone
        if self.step < self.method.apart_for * self.config.steps:
            return one_alone
        return self.config.dropout

    def visible_only(self) -> bool:
        """Say whether labels are limited to what the shown sequences show."""
        return self.step < max(self.config.visible_until, self.method.starting_for * self.config.steps)

    def save(self, path: Path) -> None:
        """Write a checkpoint atomically."""
        state = {
            "network": self.network.state_dict(),
            "average": self.average.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "step": self.step,
            "first": self.first,
            "best": self.best,
            "stale": self.stale,
        }
        part = path.with_suffix(".part")
        torch.save(state, part)
        part.replace(path)

    def resume(self, path: Path) -> None:
        """Go on from a checkpoint.

        Raises
        ------
        UsageError
            It holds another network.
        """
        state = torch.load(path, weights_only=True, map_location=self.device)
        try:
            self.step, self.first = int(state["step"]), int(state["first"])
            self.network.load_state_dict(state["network"])
        except (KeyError, RuntimeError) as error:
            raise UsageError(
                f"{path} holds a run of another network.", "Give its options again, or another folder."
            ) from error
        self.average.load_state_dict(state["average"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.best, self.stale = float(state["best"]), int(state["stale"])

    def learn(self, example: Example) -> float:
        """Take one step; returns the loss."""
        for group in self.optimiser.param_groups:
            group["lr"] = self.rate()
        # Whatever chance the network uses itself depends on the step alone, so that a resumed run is the same run.
        torch.manual_seed(self.config.seed * 1_000_003 + self.step)
        self.network.train()
        with torch.autocast(self.device.type, torch.bfloat16):
            logits = self.parallel(example.batch)
        loss = loss_of(logits, example, self.config.network.outputs)
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), self.config.clip)
        with held(self.network, T2SAG) if self.method.frozen else contextlib.nullcontext():
            self.optimiser.step()
        # A young average would hold on to the random start.
        keep = min(self.config.average, (1 + self.step) / (10 + self.step))
        with torch.no_grad():
            torch._foreach_lerp_(list(self.average.parameters()), list(self.network.parameters()), 1 - keep)
        self.step += 1
        return float(loss.detach())


def train(
    config: TrainConfig,
    source: Source,
    folder: Path,
    deadline: float | None = None,
    stop_at: int | None = None,
    device: torch.device | None = None,
    start: MultiSequenceNet | None = None,
    begin_at: int = 0,
) -> Run:
    """Train until the last step, or until ``deadline`` (time.time()) or the step ``stop_at``.

    A run found in ``folder/checkpoint.pt`` goes on; what its log holds beyond the checkpoint is dropped. Under ``torchrun`` every
    process learns from its share of each batch, and the first one writes.

    Parameters
    ----------
    start : MultiSequenceNet, optional
        Weights that a new run begins with.
    begin_at : int
        The step that it then begins with.
    """
    rank, world = _place()
    if config.batch % world:
        raise ValueError(f"A batch of {config.batch} cannot be shared by {world} processes.")
    folder.mkdir(parents=True, exist_ok=True)
    run = Run(config, device)
    checkpoint = folder / "checkpoint.pt"
    if checkpoint.exists():
        run.resume(checkpoint)
        log.info("resumed at step %d", run.step)
    elif start is not None:
        run.start_from(start, begin_at)
    last = config.steps if stop_at is None else min(stop_at, config.steps)
    with _Log(folder / "log.tsv", run.step) if rank == 0 else contextlib.nullcontext() as table:
        progress = Progress(run.step, last) if rank == 0 else None
        while run.step < last and (deadline is None or time.time() < deadline):
            began = time.perf_counter()
            draw = Draw((config.seed * world + rank) * 1_000_003 + run.step)
            example = source.collate(
                source.take(draw, config.batch // world), draw, run.keep(), run.visible_only()
            )
            loss = run.learn(example.to(run.device))
            score = _validate(run, source, folder) if run.step % config.validate_every == 0 else None
            if table and progress:
                table.row(run, loss, time.perf_counter() - began, score)
                progress.losses.append(loss)
                if run.step % config.save_every == 0:
                    table.stream.flush()
                    run.save(checkpoint)
                    progress.say(run.step, score)
            if config.patience and run.stale >= config.patience:
                log.info("no improvement in %d validations: stopped at step %d", run.stale, run.step)
                break
        if progress:
            run.save(checkpoint)
    return run


@contextlib.contextmanager
def held(network: MultiSequenceNet, slot: int) -> Iterator[None]:
    """Keep the encoder of one sequence as it is, whatever happens to the others; encoders must share nothing."""
    own = list(network.encoders.parameters())
    before = [one.detach()[slot].clone() for one in own]
    yield
    with torch.no_grad():
        for one, kept in zip(own, before, strict=True):
            one[slot] = kept


def _validate(run: Run, source: Source, folder: Path) -> float | None:
    """Score the moving average; where it is the best so far, keep it in ``best.pt``."""
    if source.validate is None:
        return None
    run.average.eval()
    with torch.inference_mode():
        score = source.validate(run.average)
    run.stale = 0 if score > run.best else run.stale + 1
    if score > run.best:
        run.best = score
        if _place()[0] == 0:
            torch.save(run.average.state_dict(), folder / "best.pt")
    return score


def _place() -> tuple[int, int]:
    """Return this process's number and the number of processes."""
    if distributed.is_initialized():
        return distributed.get_rank(), distributed.get_world_size()
    return 0, 1


class _Log:
    """The table of losses; rows beyond the step that a run goes on from are dropped."""

    def __init__(self, path: Path, step: int) -> None:
        rows = path.read_text(encoding="utf-8").splitlines(keepends=True)[1:] if path.exists() else []
        kept = [row for row in rows if row.endswith("\n") and int(row.split("\t", 1)[0]) <= step]
        self.stream = path.open("w", encoding="utf-8")
        self.stream.write(HEADER + "".join(kept))

    def __enter__(self) -> _Log:
        return self

    def __exit__(self, *error: object) -> None:
        self.stream.close()

    def row(self, run: Run, loss: float, seconds: float, score: float | None) -> None:
        """Write one step."""
        shown = "n/a" if score is None else f"{score:.4f}"
        self.stream.write(f"{run.step}\t{loss:.5f}\t{run.rate():.2e}\t{seconds:.2f}\t{shown}\n")


class Progress:
    """Says how far a run is and how long it will take."""

    def __init__(self, step: int, last: int) -> None:
        self.first, self.last, self.began = step, last, time.perf_counter()
        self.losses: list[float] = []

    def say(self, step: int, score: float | None) -> None:
        """Log one line, with the mean loss since the one before."""
        each = (time.perf_counter() - self.began) / max(1, step - self.first)
        left = each * (self.last - step) / 60
        loss = sum(self.losses) / max(1, len(self.losses))
        self.losses.clear()
        validation = "" if score is None else f", validation {score:.3f}"
        log.info(
            "step %d of %d, loss %.3f%s, %.2f s a step, %.0f min left",
            step, self.last, loss, validation, each, left,
        )  # fmt: skip
