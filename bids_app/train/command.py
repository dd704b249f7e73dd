"""``mscord-train``: train the networks on simulated cords, on a labelled BIDS dataset, or on both."""

from __future__ import annotations

import argparse
import contextlib
import logging
import os
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import ExitCode, MscordError, UsageError
from ..machine import prepare_process
from ..processes import process_pool

if TYPE_CHECKING:
    import torch

    from ..model.network import MultiSequenceNet
    from ..simulate.patches import Patch
    from .loop import Run, Source, TrainConfig
    from .tasks import Task

log = logging.getLogger("bids_app")
#: The choices of `NetworkConfig.impute`, here because ``--help`` loads no torch.
IMPUTE = ("every-level", "bottleneck", "nowhere")


class _Help(argparse.ArgumentDefaultsHelpFormatter):
    """Tells defaults, but not that there is none."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        # 0 is a default worth telling, False is not: they are equal.
        told = action.default is not False and action.default not in (None, "")
        return super()._get_help_string(action) if told else action.help


def parser() -> argparse.ArgumentParser:
    """Return the command line of ``mscord-train``."""
    result = argparse.ArgumentParser(
        prog="mscord-train",
        description="Train a network of mscord on simulated spinal cords, on a labelled BIDS dataset, or on both.",
        formatter_class=_Help,
    )
    result.add_argument(
        "out", type=Path, help="folder for checkpoints, log and weights; a run found there goes on"
    )
    _add_data(result.add_argument_group("what to learn from (by default simulated cords)"))
    _add_network(result.add_argument_group("which network"))
    _add_learning(result.add_argument_group("how to learn"))
    _add_machine(result.add_argument_group("where"))
    result.add_argument(
        "--validation",
        type=int,
        default=200,
        metavar="N",
        help="simulated samples for the choice of the threshold",
    )
    result.add_argument("--note", default="", help="goes into the model card")
    return result


def _add_data(data: argparse._ArgumentGroup) -> None:
    data.add_argument(
        "--bids", type=Path, metavar="DIR", help="BIDS dataset; it is prepared first (see --crops)"
    )
    data.add_argument(
        "--labels", type=Path, metavar="DIR", help="lesion masks of --bids (default: its derivatives)"
    )
    data.add_argument(
        "--crops",
        type=Path,
        metavar="DIR",
        help="prepared dataset, made here if it is not there (default: OUT/crops)",
    )
    data.add_argument("--prepare-only", action="store_true", help="stop after preparing the dataset")
    data.add_argument(
        "--simulated",
        type=float,
        default=0.5,
        metavar="SHARE",
        help="share of simulated samples beside a dataset",
    )
    data.add_argument(
        "--validation-share",
        type=float,
        default=0.2,
        metavar="SHARE",
        help="share of the dataset's participants kept for validation",
    )
    data.add_argument(
        "--dataset-name",
        default="a labelled BIDS dataset",
        metavar="TEXT",
        help="what the model card calls the dataset",
    )


def _add_network(how: argparse._ArgumentGroup) -> None:
    how.add_argument("--task", choices=("lesion", "cord", "overview"), default="lesion", help="which network")
    how.add_argument(
        "--method",
        default="mean-imputation",
        help="mean-imputation, t2sag-baseline, feature-augmentation, frozen-encoder, pretrained-encoders or shared-start",
    )
    how.add_argument(
        "--norm", choices=("weight", "instance"), help="normalisation layers (default: the task's)"
    )
    how.add_argument(
        "--channels", type=channels, metavar="N,N,...", help="features per level (default: the task's)"
    )
    how.add_argument(
        "--intensity",
        choices=("cord", "zscore"),
        default="cord",
        help="images relative to the cord's median, or as z-scores",
    )
    how.add_argument(
        "--impute",
        choices=IMPUTE,
        default=IMPUTE[0],
        help="where missing features are filled with the mean; elsewhere with 0",
    )
    how.add_argument(
        "--availability",
        choices=("position", "volume"),
        default="position",
        help="a sequence counts as available where it covers, or everywhere",
    )


def _add_learning(how: argparse._ArgumentGroup) -> None:
    how.add_argument(
        "--init", type=Path, metavar="WEIGHTS", help="begin with these weights (.safetensors), or 'shipped'"
    )
    how.add_argument("--steps", type=int, default=1500, help="steps in all")
    how.add_argument("--batch", type=int, default=4, help="samples a step, in all processes together")
    how.add_argument("--rate", type=float, default=2e-3, help="learning rate")
    how.add_argument(
        "--average",
        type=float,
        default=0.995,
        help="weight of the past in the moving average of the weights; 0 for none",
    )
    how.add_argument(
        "--untie-at", type=int, default=0, metavar="STEP", help="until then all sequences share one encoder"
    )
    how.add_argument(
        "--visible-until",
        type=int,
        default=0,
        metavar="STEP",
        help="until then labels are limited to what the shown sequences show",
    )
    how.add_argument(
        "--pool-per-step",
        type=float,
        default=1.5,
        metavar="N",
        help="new samples made each step; the others are used again",
    )
    how.add_argument(
        "--samples",
        type=Path,
        metavar="DIR",
        help="simulated samples are kept here, and found here by the next run",
    )
    how.add_argument("--save-every", type=int, default=50, metavar="STEPS", help="steps between checkpoints")
    how.add_argument(
        "--validate-every", type=int, default=250, metavar="STEPS", help="steps between validations"
    )
    how.add_argument(
        "--patience",
        type=int,
        default=0,
        help="stop after this many validations without improvement; 0: never",
    )
    how.add_argument("--seed", type=int, default=0, help="seed of everything")


def _add_machine(machine: argparse._ArgumentGroup) -> None:
    machine.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    machine.add_argument("--threads", type=int, default=0, help="CPU threads of the network; 0: all")
    machine.add_argument("--workers", type=int, default=0, help="processes that make samples ahead; 0: none")
    machine.add_argument(
        "--minutes", type=float, default=0, help="stop after this long; the next call goes on; 0: no limit"
    )


def channels(text: str) -> tuple[int, ...]:
    """Read features per level from a command line."""
    return tuple(int(part) for part in text.split(","))


def main(argv: list[str] | None = None) -> int:
    """Train; returns the exit status."""
    options = parser().parse_args(argv)
    prepare_process()
    logging.basicConfig(
        stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S"
    )
    try:
        return int(run(options))
    except MscordError as error:
        log.error("%s", error)
        return int(error.exit_code)


def run(options: argparse.Namespace) -> ExitCode:
    """Prepare, train, choose the operating point and write weights, card and plot."""
    crops: Path | None = options.crops or (options.out / "crops" if options.bids else None)
    if options.bids:
        if _world() > 1:
            raise UsageError(
                "Several processes cannot prepare --bids together.",
                f"First call mscord-train {options.out} --bids {options.bids} --prepare-only, "
                f"then torchrun with --crops {crops}.",
            )
        from .prepare import prepare_dataset

        assert crops is not None
        prepare_dataset(options.bids, options.labels, crops)
    if options.prepare_only:
        return ExitCode.OK
    import torch

    from .tasks import TASKS

    if options.threads:
        torch.set_num_threads(options.threads)
    task = TASKS[options.task]
    config = configure(options, task)
    with _processes() as device, _workers(options.workers) as executor:
        device = device or _device(options.device)
        source = _source(options, task, crops, executor)
        deadline = time.time() + 60 * options.minutes if options.minutes else None
        from .loop import train

        done = train(config, source, options.out, deadline, device=device, start=_start(options, config))
        if _first():
            finish(options, task, done, source.held)
    return ExitCode.OK


def configure(options: argparse.Namespace, task: Task) -> TrainConfig:
    """Return the run's configuration.

    Raises
    ------
    UsageError
        The method has no such name, or needs weights to begin with.
    """
    from .loop import TrainConfig
    from .methods import METHODS

    if options.method not in METHODS:
        raise UsageError(f"There is no method {options.method!r}.", f"Choose one of {', '.join(METHODS)}.")
    method = METHODS[options.method]
    if method.frozen and options.init is None:
        raise UsageError("frozen-encoder needs the weights of a T2Sag baseline.", "Name them with --init.")
    network = task.network
    if options.task == "lesion":
        network = replace(
            network,
            impute=options.impute,
            availability=options.availability,
            noise=method.noise,
            intensity=options.intensity,
        )
    network = replace(
        network, norm=options.norm or network.norm, channels=options.channels or network.channels
    )
    return TrainConfig(
        network,
        options.steps,
        options.method,
        options.untie_at,
        options.visible_until,
        options.batch,
        options.seed,
        options.rate,
        average=options.average,
        pool_per_step=options.pool_per_step,
        save_every=options.save_every,
        validate_every=options.validate_every,
        patience=options.patience,
    )


def finish(options: argparse.Namespace, task: Task, done: Run, held: Sequence[Patch] = ()) -> None:
    """Choose the operating point, and write weights, card and loss plot."""
    import torch

    from ..model import checkpoint
    from .card import make_card
    from .plot import plot_losses

    network = done.average
    network.untie()
    best = options.out / "best.pt"
    if done.config.patience and best.exists():
        network.load_state_dict(torch.load(best, weights_only=True, map_location="cpu"))
    network.eval()
    results: dict[str, object] = {}
    if options.task == "lesion":
        try:
            from .operating import choose
        except ImportError as error:
            log.warning("No threshold was chosen (%s): repeat this command where mscord is installed.", error)
        else:
            results["operating_point"] = choose(
                network, options.validation, options.method, held, _kept(options, "validation")
            )
    data = "simulated spinal cords only; no image of a person"
    if options.bids or options.crops:
        data = f"{options.dataset_name} and simulated spinal cords ({options.simulated:.0%} of the samples)"
    card = make_card(options.task, task, done.config, done.step, options.note, data, results)
    checkpoint.save(options.out / f"{options.task}.safetensors", network, card)
    plot_losses(options.out / "log.tsv", options.out / "loss.png")
    log.info("wrote %s", options.out / f"{options.task}.safetensors")


def _kept(options: argparse.Namespace, purpose: str) -> Path | None:
    """Return where simulated samples are kept; methods that always have a T2Sag learn from other ones."""
    from .methods import METHODS

    if options.samples is None:
        return None
    drawn = "t2sag" if METHODS[options.method].t2sag_only else options.task
    return Path(options.samples, f"{purpose}-{drawn}")


def _source(options: argparse.Namespace, task: Task, crops: Path | None, executor: Executor | None) -> Source:
    from ..simulate.patches import PRESENCE, make_patch
    from .loop import Source
    from .methods import METHODS, T2SAG
    from .samples import Kept, lesion_example

    make, collate, t2sag_only = task.make, task.collate, METHODS[options.method].t2sag_only
    if options.task == "lesion":
        collate = partial(lesion_example, intensity=options.intensity)
    if t2sag_only:
        make = partial(make_patch, presence={**PRESENCE, "T2Sag": 1.0})
    if folder := _kept(options, "learning"):
        make = Kept(make, folder)
    if crops is None:
        return Source(make, collate, None, executor)
    from .crops import CropSource, read_crops, split
    from .operating import shown_by, voxel_dice

    learning, held = split(read_crops(crops), options.validation_share, options.seed)
    if t2sag_only:
        learning = [crop for crop in learning if T2SAG in crop.whole.slots]
    make = CropSource(tuple(learning), make, options.simulated)
    patches = tuple(patch for crop in held for patch in crop.windows())
    log.info("%d crops to learn from, %d held back for validation", len(learning), len(held))

    def validate(network: MultiSequenceNet) -> float:
        return voxel_dice(network, patches, shown_by(options.method))

    return Source(make, collate, validate if patches else None, executor, patches)


def _start(options: argparse.Namespace, config: TrainConfig) -> MultiSequenceNet | None:
    if options.init is None:
        return None
    from ..cards import SHIPPED
    from ..model import checkpoint
    from ..model.network import MultiSequenceNet

    path = SHIPPED / f"{options.task}.safetensors" if str(options.init) == "shipped" else options.init
    loaded = checkpoint.load(path).network
    network = MultiSequenceNet(config.network)
    try:
        network.load_state_dict(loaded.state_dict())
    except RuntimeError as error:
        raise UsageError(f"{path.name} has another shape than the network to be trained.") from error
    return network


def _device(wanted: str) -> torch.device:
    import torch

    if wanted == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if wanted.startswith("cuda") and not torch.cuda.is_available():
        raise UsageError(f"--device {wanted} was asked for, but torch sees no CUDA device.")
    return torch.device(wanted)


@contextlib.contextmanager
def _processes() -> Iterator[torch.device | None]:
    """Join the other processes that ``torchrun`` started; yields this one's device, or None where there is only one process."""
    if _world() == 1:
        yield None
        return
    import torch
    from torch import distributed

    gpu = torch.cuda.is_available()
    distributed.init_process_group("nccl" if gpu else "gloo")
    try:
        yield torch.device("cuda", int(os.environ["LOCAL_RANK"])) if gpu else torch.device("cpu")
    finally:
        distributed.destroy_process_group()


def _world() -> int:
    return int(os.environ.get("WORLD_SIZE", "1"))


def _first() -> bool:
    from torch import distributed

    return not distributed.is_initialized() or distributed.get_rank() == 0


@contextlib.contextmanager
def _workers(count: int) -> Iterator[Executor | None]:
    if not count:
        yield None
        return
    executor = process_pool(count, _single_thread)
    try:
        yield executor
    finally:
        executor.shutdown(cancel_futures=True)


def _single_thread() -> None:
    import torch

    torch.set_num_threads(1)
