"""``mscord-train``: train the networks on simulated cords, on a labelled BIDS dataset, or on both."""

from __future__ import annotations

import argparse
import logging
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import ExitCode, MscordError, UsageError
from ..machine import prepare_process
from .devices import device_of, is_first, joined, world
from .options import parser
from .sources import kept_samples, source_of, start_of

if TYPE_CHECKING:
    from ..simulate.patches import Patch
    from .loop import Run, TrainConfig
    from .tasks import Task

log = logging.getLogger("bids_app")


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
        if world() > 1:
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
    with joined() as device, source_of(options, task, crops) as source:
        device = device or device_of(options.device)
        deadline = time.time() + 60 * options.minutes if options.minutes else None
        from .loop import train

        done = train(
            config,
            source,
            options.out,
            deadline,
            device=device,
            start=start_of(options, config),
            begin_at=options.begin_at,
        )
    if is_first():
        finish(options, task, done, source.held_back)
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
    network = replace(task.network, along=1, channels=options.channels or task.network.channels)
    if options.task == "lesion":
        network = replace(
            network,
            impute=options.impute,
            availability=options.availability,
            noise=method.noise,
            sharing=method.sharing,
        )
    return TrainConfig(
        network,
        options.steps,
        options.method,
        options.visible_until,
        options.batch,
        options.seed,
        options.rate,
        average=options.average,
        save_every=options.save_every,
        validate_every=options.validate_every,
        patience=options.patience,
    )


def finish(options: argparse.Namespace, task: Task, done: Run, held: Sequence[Patch] = ()) -> None:
    """Choose the operating point, and write weights, card and loss plot."""
    import torch

    from ..model import checkpoint
    from ..model.network import MultiSequenceNet
    from .card import make_card
    from .plot import plot_losses

    network = MultiSequenceNet(replace(done.config.network, along=task.network.along))
    network.load_state_dict(done.average.state_dict())
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
                network,
                options.validation,
                options.method,
                held,
                kept_samples(options.samples, "validation", options.method),
            )
    data = "simulated spinal cords only; no image of a person"
    if options.bids or options.crops or options.scans:
        data = f"{options.dataset_name} and simulated spinal cords ({options.simulated:.0%} of the samples)"
    card = make_card(options.task, task, done.config, done.step, options.note, data, results)
    checkpoint.save(options.out / f"{options.task}.safetensors", network, card)
    plot_losses(options.out / "log.tsv", options.out / "loss.png")
    log.info("wrote %s", options.out / f"{options.task}.safetensors")
