"""The command line of ``mscord-train``; ``--help`` loads no torch."""

from __future__ import annotations

import argparse
from pathlib import Path

#: The choices of `NetworkConfig.impute`.
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
        default=400,
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
        "--scans",
        type=Path,
        metavar="DIR",
        help="with --task cord or overview: prepared scans to learn from, too",
    )
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
        help="mean-imputation, t2sag-baseline, feature-augmentation, frozen-encoder or pretrained-encoders",
    )
    how.add_argument(
        "--channels", type=channels, metavar="N,N,...", help="features per level (default: the task's)"
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
    how.add_argument(
        "--samples",
        type=Path,
        metavar="DIR",
        help="simulated samples for the choice of the threshold are kept here, and found here by the next call",
    )
    how.add_argument("--steps", type=int, default=1500, help="steps in all")
    how.add_argument("--batch", type=int, default=4, help="samples a step, in all processes together")
    how.add_argument("--rate", type=float, default=2e-3, help="learning rate")
    how.add_argument(
        "--average",
        type=float,
        default=0.999,
        help="weight of the past in the moving average of the weights; 0 for none",
    )
    how.add_argument(
        "--visible-until",
        type=int,
        default=0,
        metavar="STEP",
        help="until then labels are limited to what the shown sequences show",
    )
    how.add_argument(
        "--ring",
        type=Path,
        metavar="DIR",
        help="samples on disk: made by one process all the time, used several times each (default: OUT/ring)",
    )
    how.add_argument(
        "--keep",
        type=int,
        default=20_000,
        metavar="N",
        help="samples that are kept there; 20,000 take about 8 GB",
    )
    how.add_argument(
        "--begin-at",
        type=int,
        default=0,
        metavar="STEP",
        help="with --init: the step that the weights have reached; the learning rate goes on from there",
    )
    how.add_argument("--save-every", type=int, default=200, metavar="STEPS", help="steps between checkpoints")
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
    machine.add_argument(
        "--minutes", type=float, default=0, help="stop after this long; the next call goes on; 0: no limit"
    )


def channels(text: str) -> tuple[int, ...]:
    """Read features per level from a command line."""
    return tuple(int(part) for part in text.split(","))
