"""How fast the simulator is: ``python -m bids_app.simulate.speed [--device cuda]``."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Mapping

import torch

from ..sequences import SLOTS
from .patches import PATCH_LENGTH, PRESENCE, make_patch

#: A cervical and upper thoracic cord, in slices of 0.5 mm.
WHOLE = 320


def main(argv: list[str] | None = None) -> int:
    """Print training samples and whole participants a second, of one process."""
    parser = argparse.ArgumentParser(prog="python -m bids_app.simulate.speed", description=__doc__)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--seconds", type=float, default=10, help="how long to measure each")
    options = parser.parse_args(argv)
    device = torch.device(options.device)
    torch.set_num_threads(1)
    everything = dict.fromkeys(SLOTS, 1.0)
    for title, slices, most, presence in (
        ("training samples of 32 mm, up to 3 sequences", PATCH_LENGTH, 3, PRESENCE),
        ("participants in the common space, 160 mm, 6 sequences", WHOLE, len(SLOTS), everything),
    ):
        rate = speed(options.seconds, slices, most, presence, device)
        sys.stdout.write(f"{title}: {rate:.2f} a second on {device.type}, one process\n")
    return 0


def speed(
    seconds: float, slices: int, most: int, presence: Mapping[str, float], device: torch.device
) -> float:
    """Return how many samples are made a second."""
    make_patch(0, slices, most, device=device, presence=presence)
    began, count = time.perf_counter(), 0
    while time.perf_counter() - began < seconds:
        count += 1
        make_patch(count, slices, most, device=device, presence=presence)
    return count / (time.perf_counter() - began)


if __name__ == "__main__":
    sys.exit(main())
