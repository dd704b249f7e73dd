"""What matters: train variants for equally many steps, and compare them on simulated participants.

``python -m bids_app.accuracy.ablation RUNS --steps N`` trains whatever is not yet trained in ``RUNS`` (each run goes on where
it stopped) and prints the table; ``--train-only`` needs nothing but torch, numpy and safetensors.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

from ..train import command

#: Name and options of each variant. The first is what the others are compared with: the recipe of the weights that ship with
#: half of their channels, so that a run fits on a processor.
VARIANTS: Mapping[str, tuple[str, ...]] = {
    "as shipped, half the channels": (),
    "imputation nowhere": ("--impute", "nowhere"),
    "imputation at the bottleneck only": ("--impute", "bottleneck"),
    "availability by volume": ("--availability", "volume"),
    "instance normalisation": ("--norm", "instance"),
    "z-scores": ("--intensity", "zscore"),
    "labels of all acquired sequences": ("--visible-until", "0"),
    "all channels": ("--channels", "8,16,64,128"),
    "own encoders from the start": ("--untie-at", "0"),
    "no moving average": ("--average", "0"),
}


def main(argv: list[str] | None = None) -> int:
    """Train and compare."""
    parser = argparse.ArgumentParser(prog="python -m bids_app.accuracy.ablation", description=__doc__)
    parser.add_argument("runs", type=Path)
    parser.add_argument("--steps", type=int, default=1500)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", nargs="*", choices=list(VARIANTS), default=list(VARIANTS))
    parser.add_argument("--train-only", action="store_true")
    parser.add_argument("--participants", type=int, default=100)
    parser.add_argument("--workers", type=int, default=1, help="processes that simulate")
    options = parser.parse_args(argv)
    for name in options.only:
        status = 0 if is_done(name, options) else command.main(arguments(name, options))
        if status:
            return status
    if not options.train_only:
        for line in compare(options):
            sys.stdout.write(line + "\n")
            sys.stdout.flush()
    return 0


def folder_of(name: str, options: argparse.Namespace) -> Path:
    """Return where a variant's run lies."""
    return Path(options.runs, name.replace(",", "").replace(" ", "-"))


def is_done(name: str, options: argparse.Namespace) -> bool:
    """Say whether a variant has been trained for all its steps and its threshold chosen."""
    try:
        card = json.loads((folder_of(name, options) / "lesion.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return card["training"]["steps_done"] >= options.steps and "operating_point" in card


def arguments(name: str, options: argparse.Namespace) -> list[str]:
    """Return the arguments of ``mscord-train`` for a variant; all learn from the same samples."""
    common = ["--steps", options.steps, "--batch", options.batch, "--seed", options.seed]
    common += [
        "--workers",
        options.workers,
        "--note",
        f"variant: {name}",
        "--samples",
        options.runs / "samples",
    ]
    common += ["--channels", "8,16,32,64", "--untie-at", options.steps // 4, "--visible-until", options.steps]
    return [str(folder_of(name, options)), *map(str, common), *VARIANTS[name]]


def compare(options: argparse.Namespace) -> Iterator[str]:
    """Yield the table: lesion F1 (IoU 0.2) and Dice with T2Sag alone and with all sequences, and false lesions."""
    import numpy as np
    import torch

    from ..segment import Segmenter
    from ..sequences import SLOTS
    from .simulated import make_people, score

    people = make_people(options.participants, options.workers)
    ill = np.array([person.lesion.any() for person in people])
    yield f"{len(people)} simulated participants, {int(ill.sum())} with lesions; {options.steps} steps each, seed {options.seed}"
    yield "variant\tparameters\tF1 T2Sag\tDice T2Sag\tF1 all six\tDice all six\tfalse lesions, T2Sag, lesion-free"
    for name in options.only:
        segmenter = Segmenter(torch.device("cpu"), folder_of(name, options) / "lesion.safetensors")
        size = sum(p.numel() for p in segmenter.weights.network.parameters())
        cells: list[str] = [name, f"{size / 1e6:.1f} M"]
        table = [score(people, names, segmenter) for names in (("T2Sag",), SLOTS)]
        for scores in table:
            cells += [f"{scores['iou20'][ill].mean():.3f}", f"{scores['dice'][ill].mean():.3f}"]
        yield "\t".join([*cells, f"{table[0]['wrong'][~ill].mean():.2f}"])


if __name__ == "__main__":
    sys.exit(main())
