"""Make the samples that `frozen` scores: 1,600 by version 0.1.0's simulator.

This file is run by itself with that version's code in front (`make frozen` does it): so it imports nothing of its own package's.
Samples that are there are kept; every sample comes from its own seed.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

VERSION, FIRST_SEED, SAMPLES = "0.1.0", 5_000_000_000, 1600


def main(argv: list[str] | None = None) -> int:
    """Fill a folder."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--samples", type=int, default=SAMPLES)
    options = parser.parse_args(argv)
    import torch

    import bids_app

    found = Path(str(bids_app.__file__)).resolve().parent
    if bids_app.__version__ != VERSION or found == Path(__file__).resolve().parents[1]:
        sys.stderr.write(f"{found} is not the code of version {VERSION}: put that in front (make frozen)\n")
        return 2
    from bids_app.simulate.patches import PRESENCE, make_patch
    from bids_app.train.samples import Kept  # type: ignore[attr-defined]  # that version's

    torch.set_num_threads(1)
    options.folder.mkdir(parents=True, exist_ok=True)
    make = Kept(lambda seed: make_patch(seed, presence=PRESENCE), options.folder)
    for number in range(options.samples):
        make(FIRST_SEED + number)
    return 0


if __name__ == "__main__":
    sys.exit(main())
