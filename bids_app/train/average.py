"""``python -m bids_app.train.average OUT A B ...``: the mean of weights that began with the same ones.

Runs that began alike and learned from different things (simulated cords alone, and with real backgrounds) lie close enough
together that the mean of their weights does both (Wortsman et al., ICML 2022, doi 10.48550/arXiv.2203.05482).
"""

from __future__ import annotations

import argparse
import copy
import sys
from collections.abc import Sequence
from pathlib import Path

import torch

from ..errors import ExitCode, MscordError, UsageError
from ..model import checkpoint
from ..model.checkpoint import Weights
from ..model.network import MultiSequenceNet
from .card import notice_of
from .operating import choose


def main(argv: list[str] | None = None) -> int:
    """Average, choose the operating point, and write weights and card."""
    parser = argparse.ArgumentParser(prog="python -m bids_app.train.average", description=__doc__)
    parser.add_argument("out", type=Path, help="file to write (.safetensors); its card goes beside it")
    parser.add_argument(
        "weights", type=Path, nargs="+", help="lesion models that began with the same weights"
    )
    parser.add_argument(
        "--validation",
        type=int,
        default=400,
        metavar="N",
        help="simulated samples for the choice of the threshold",
    )
    parser.add_argument(
        "--data", default="", help="what they learned from, for the card (default: what their cards agree on)"
    )
    parser.add_argument("--note", default="", help="goes into the model card")
    options = parser.parse_args(argv)
    try:
        run(options)
    except MscordError as error:
        sys.stderr.write(f"{error}\n")
        return int(error.exit_code)
    return int(ExitCode.OK)


def run(options: argparse.Namespace) -> None:
    """Write the mean of the weights."""
    parts = [checkpoint.load(path) for path in options.weights]
    data = options.data or agreed(parts)
    network = mean(parts)
    point = choose(network, options.validation)
    checkpoint.save(options.out, network, card_of(parts, point, data, options.note))


def mean(parts: Sequence[Weights]) -> MultiSequenceNet:
    """Return the network whose every weight is the mean over the parts.

    Raises
    ------
    UsageError
        The parts have different shapes.
    """
    if len({one.network.config for one in parts}) > 1:
        raise UsageError(
            "The weights have different shapes.", "Average runs that began with the same weights."
        )
    network = copy.deepcopy(parts[0].network)
    states = [one.network.state_dict() for one in parts]
    network.load_state_dict(
        {name: torch.stack([state[name] for state in states]).mean(0) for name in states[0]}
    )
    return network


def agreed(parts: Sequence[Weights]) -> str:
    """Return what all parts learned from.

    Raises
    ------
    UsageError
        They learned from different things.
    """
    data = {str(one.card.record["data"]) for one in parts}
    if len(data) > 1:
        raise UsageError(
            f"The weights learned from different things: {'; '.join(sorted(data))}.",
            "Name all of it with --data.",
        )
    return data.pop()


def card_of(parts: Sequence[Weights], operating_point: object, data: str, note: str) -> dict[str, object]:
    """Return the card: that of the first part, with what each of the others learned from."""
    first = dict(parts[0].card.record)
    # A calibration holds for the weights that it was fitted with.
    dropped = ("sha256", "network", "calibration")
    return {name: value for name, value in first.items() if name not in dropped} | {
        "data": data,
        "notice": notice_of(data),
        "note": note,
        "mean_of": [_origin(one) for one in parts],
        "operating_point": operating_point,
    }


def _origin(one: Weights) -> dict[str, object]:
    """Return what the card says of where one part comes from."""
    record = one.card.record
    origin = {
        "sha256": one.card.sha256,
        "data": record["data"],
        "note": record["note"],
        "steps_done": record["training"]["steps_done"],
    }
    if "mean_of" in record:
        origin["mean_of"] = record["mean_of"]
    return origin


if __name__ == "__main__":
    sys.exit(main())
