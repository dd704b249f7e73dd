"""``python -m bids_app.accuracy.prepare DATA OUT``: crops of the development scans that the lesion model may learn from.

``OUT`` is a folder for ``mscord-train --crops``. Test people, and those on whom settings are chosen, are not among them.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from .. import cord, images, resample, space
from ..files import write_json
from ..localise import Localiser
from ..train.prepare import relative, sliced


@dataclass(frozen=True)
class Source:
    """A scan to learn from: its name, the sequence that it stands for, and the scan on the same grid whose cord it takes."""

    stem: str
    sequence: str
    cord_of: str = ""


#: Nobody of these is a test person (dev06, dev10, dev13, dev15) or one on whom settings are chosen (dev07, dev14). Gradient-echo
#: scans with and without magnetisation transfer stand for T2*w.
SOURCES = (
    Source("sub-dev01_acq-sag_T2w", "T2Sag"),
    Source("sub-dev02_acq-sagcrop_T1w", "T1"),
    Source("sub-dev03_acq-ax_T2starw", "T2starAx"),
    Source("sub-dev05_acq-ax_run-1_T2starw", "T2starAx"),
    Source("sub-dev05_acq-ax_run-2_T2starw", "T2starAx"),
    Source("sub-dev08_acq-ax_flip-1_mt-on_MTS", "T2starAx"),
    Source("sub-dev08_acq-ax_flip-1_mt-off_MTS", "T2starAx", "sub-dev08_acq-ax_flip-1_mt-on_MTS"),
    Source("sub-dev09_acq-ax_flip-1_mt-on_MTS", "T2starAx"),
    Source("sub-dev12_acq-sag_T2w", "T2Sag"),
    Source("sub-dev16_acq-1mm_T1w", "T1"),
    Source("sub-dev16_acq-1mm_T2w", "T2Sag"),
    Source("sub-dev16_acq-1mm_T2starw", "T2starAx"),
)


def main(argv: list[str] | None = None) -> int:
    """Write the crops."""
    parser = argparse.ArgumentParser(prog="python -m bids_app.accuracy.prepare", description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    options = parser.parse_args(argv)
    options.out.mkdir(parents=True, exist_ok=True)
    localiser = Localiser(torch.device("cpu"))
    for source in SOURCES:
        write_crop(options.data, source, options.out, localiser)
    return 0


def write_crop(data: Path, source: Source, out: Path, localiser: Localiser) -> None:
    """Write the crop of one scan, with no lesion in it."""
    volume, grid = images.read_volume(_raw(data, source.stem))
    mask = _cord(data, source.cord_of or source.stem, localiser)
    common = images.common_grid(grid)
    starts = space.crop_starts(cord.crop_centres(mask, grid, common))
    image, coverage = resample.to_crop(volume, grid, starts, common, np.eye(4))
    inside, _ = resample.to_crop(mask.astype(np.float32), grid, starts, common, np.eye(4))
    np.savez_compressed(
        out / f"{source.stem}.npz",
        images=relative(image[None], coverage[None], inside).astype(np.float16),
        coverage=coverage[None],
        cord=inside.astype(np.float16),
        lesion=np.zeros(inside.shape, bool),
    )
    note = {
        "participant": source.stem.split("_")[0].removeprefix("sub-"),
        "sequences": [source.sequence],
        "slices": [sliced(grid)],
    }
    write_json(out / f"{source.stem}.json", note)


def _raw(data: Path, stem: str) -> Path:
    return next(path for path in sorted(data.rglob(f"{stem}.nii.gz")) if "derivatives" not in path.parts)


def _cord(data: Path, stem: str, localiser: Localiser) -> NDArray[np.bool_]:
    """Return the manual cord mask of a scan, or the one that the localiser finds."""
    manual = sorted(data.rglob(f"{stem}_label-SC_seg.nii.gz"))
    if manual:
        return images.read_mask(manual[0])[0]
    return localiser(*images.read_volume(_raw(data, stem))) > 0


if __name__ == "__main__":
    sys.exit(main())
