"""``mscord-train``: train the networks on simulated cords."""

from __future__ import annotations

import argparse
import logging
import time
from dataclasses import replace
from pathlib import Path


def parser() -> argparse.ArgumentParser:
    """Return the command line of ``mscord-train``."""
    result = argparse.ArgumentParser(
        prog="mscord-train", description="Train a network of mscord on simulated spinal cords."
    )
    result.add_argument(
        "out", type=Path, help="folder for checkpoints, log and weights; a run found there goes on"
    )
    result.add_argument(
        "--task",
        choices=("lesion", "cord", "overview"),
        default="lesion",
        help="which network (default: %(default)s)",
    )
    result.add_argument("--steps", type=int, default=1500, help="steps in all (default: %(default)s)")
    result.add_argument(
        "--untie-at",
        type=int,
        default=0,
        help="step until which all sequences share one encoder (default: %(default)s)",
    )
    result.add_argument(
        "--visible-until",
        type=int,
        default=0,
        help="step until which labels are limited to what the shown sequences show (default: %(default)s)",
    )
    result.add_argument("--batch", type=int, default=4, help="samples a step (default: %(default)s)")
    result.add_argument(
        "--validation",
        type=int,
        default=120,
        metavar="N",
        help="simulated samples for the choice of the threshold (default: %(default)s)",
    )
    result.add_argument("--note", default="", help="goes into the model card")
    result.add_argument("--seed", type=int, default=0, help="seed of everything (default: %(default)s)")
    result.add_argument("--threads", type=int, default=0, help="CPU threads (default: all)")
    result.add_argument(
        "--minutes",
        type=float,
        default=0,
        help="stop after this long; the next call goes on (default: no limit)",
    )
    return result


def main(argv: list[str] | None = None) -> int:
    """Train; returns the exit status."""
    options = parser().parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    import torch

    from ..model import checkpoint
    from .card import make_card
    from .loop import TrainConfig, train
    from .tasks import TASKS

    if options.threads:
        torch.set_num_threads(options.threads)
    task = TASKS[options.task]
    config = TrainConfig(
        task.network,
        options.steps,
        options.untie_at,
        options.visible_until,
        batch=options.batch,
        seed=options.seed,
    )
    if options.task == "overview":
        config = replace(config, pool_per_step=2.0)
    deadline = time.time() + 60 * options.minutes if options.minutes else None
    run = train(config, task.make, task.collate, options.out, deadline)
    run.average.untie()
    run.average.eval()
    results: dict[str, object] = {}
    if options.task == "lesion":
        from .operating import choose

        results["operating_point"] = choose(run.average, options.validation)
    card = make_card(options.task, task, config, run.step, options.note, results)
    checkpoint.save(options.out / f"{options.task}.safetensors", run.average, card)
    return 0
