"""What matters: train variants for equally many steps, and compare them on simulated participants.

``python -m bids_app.accuracy.ablation RUNS --steps N`` trains whatever is not yet trained in ``RUNS`` (each run goes on where
it stopped) and prints the table; ``--train-only`` needs nothing but torch, numpy and safetensors.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from ..train import command

#: Name and options of each variant; ``{runs}`` stands for the folder. The first is what the others are compared with.
VARIANTS: Mapping[str, tuple[str, ...]] = {
    "mean-imputation": (),
    "t2sag-baseline": ("--method", "t2sag-baseline"),
    "feature-augmentation": ("--method", "feature-augmentation"),
    "frozen-encoder": ("--method", "frozen-encoder", "--init", "{runs}/t2sag-baseline/lesion.safetensors"),
    "pretrained-encoders": ("--method", "pretrained-encoders"),
    "imputation at the bottleneck only": ("--impute", "bottleneck"),
    "availability by volume": ("--availability", "volume"),
    "instance normalisation": ("--norm", "instance"),
    "z-scores": ("--intensity", "zscore"),
    "instance normalisation and z-scores": ("--norm", "instance", "--intensity", "zscore"),
    "half the channels": ("--channels", "8,8,32,64"),
    "twice the channels": ("--channels", "16,32,128,256"),
    "no moving average": ("--average", "0"),
}
#: Methods that learn from T2Sag alone can be asked for nothing else.
T2SAG_ONLY = ("t2sag-baseline", "feature-augmentation")


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
    return Path(options.runs, name.replace(" ", "-"))


def is_done(name: str, options: argparse.Namespace) -> bool:
    """Say whether a variant has been trained for all its steps and its threshold chosen."""
    try:
        card = json.loads((folder_of(name, options) / "lesion.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return card["training"]["steps_done"] >= options.steps and "operating_point" in card


def arguments(name: str, options: argparse.Namespace) -> list[str]:
    """Return the arguments of ``mscord-train`` for a variant."""
    own = [part.replace("{runs}", str(options.runs)) for part in VARIANTS[name]]
    common = ["--steps", options.steps, "--batch", options.batch, "--seed", options.seed]
    common += ["--workers", options.workers, "--note", f"variant: {name}"]
    return [str(folder_of(name, options)), *map(str, common), *own]


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
        subsets: list[Sequence[str]] = [("T2Sag",)] if name in T2SAG_ONLY else [("T2Sag",), SLOTS]
        table = [score(people, names, segmenter) for names in subsets]
        for scores in table:
            cells += [f"{scores['iou20'][ill].mean():.3f}", f"{scores['dice'][ill].mean():.3f}"]
        cells += ["n/a", "n/a"] * (2 - len(table))
        yield "\t".join([*cells, f"{table[0]['wrong'][~ill].mean():.2f}"])


if __name__ == "__main__":
    sys.exit(main())
