"""The phantom of the self-test: ``python -m bids_app.selftest.phantom FOLDER`` made the one that ships."""

from __future__ import annotations

import sys
from pathlib import Path

#: The simulated participant: a lesion of about 270 mm3 that both sequences show.
SEED = 26
#: Half the length of cord in the sagittal scan: short, so that the self-test is quick.
HALF_MM = 40.0


def main(argv: list[str] | None = None) -> int:
    """Write the phantom."""
    (folder,) = sys.argv[1:] if argv is None else argv
    make(Path(folder))
    return 0


def make(folder: Path) -> None:
    """Write the phantom as a BIDS dataset: one simulated participant with two scans, and the true masks under derivatives."""
    import torch

    from ..simulate.dataset import start_dataset, write_participant, write_participants

    start_dataset(folder)
    write_participants(folder, ["phantom"], [])
    write_participant(folder, "phantom", SEED, ("T2Sag", "T2starAx"), torch.device("cpu"), HALF_MM)


if __name__ == "__main__":
    sys.exit(main())
