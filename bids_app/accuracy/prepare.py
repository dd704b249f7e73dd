"""``python -m bids_app.accuracy.prepare DATA OUT``: the development scans that may be learned from, ready for training.

``OUT/crops`` is for the lesion model (``mscord-train --crops``), ``OUT/overview`` and ``OUT/cord`` are for the two stages of the
localiser (``--scans``). Test people, and those on whom settings are chosen, are not among them.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage

from .. import cord, images, resample, space
from ..files import write_json
from ..localise import Localiser
from ..signal import read_signal
from ..train.prepare import relative, sliced

#: Spacing of whole scans for the overview, and how much of the surroundings of the cord the second stage needs.
OVERVIEW_FILE_MM, NEAR_MM = 1.0, 40.0


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
    for name in ("crops", "overview", "cord"):
        (options.out / name).mkdir(parents=True, exist_ok=True)
    localiser = Localiser(torch.device("cpu"))
    for source in SOURCES:
        found, grid = read_signal(_raw(options.data, source.stem), source.sequence)
        volume = found.values
        mask, manual = _cord(options.data, source.cord_of or source.stem, localiser)
        write_crop(options.out / "crops", source, volume, mask, grid)
        write_scan(options.out / "overview" / f"{source.stem}.npz", volume, mask, grid, OVERVIEW_FILE_MM)
        if manual:
            write_scan(
                options.out / "cord" / f"{source.stem}.npz", volume, mask, grid, space.SPACING_MM, NEAR_MM
            )
    return 0


def write_scan(
    path: Path,
    volume: NDArray[np.float32],
    mask: NDArray[np.bool_],
    grid: space.Grid,
    spacing_mm: float,
    near_mm: float = np.inf,
) -> None:
    """Write a scan and its cord on an isotropic grid, as far as it lies within ``near_mm`` of the cord in plane."""
    common = images.common_grid(grid, spacing_mm)
    where = np.round(common.to_index(grid.to_mm(np.argwhere(mask).astype(float))))
    reach = near_mm / spacing_mm
    low = np.maximum(where.min(axis=0)[:2] - reach, 0).astype(int)
    high = np.minimum(where.max(axis=0)[:2] + reach + 1, common.shape[:2]).astype(int)
    sides = [np.arange(a, b) for a, b in zip((*low, 0), (*high, common.shape[2]), strict=True)]
    index = np.stack(np.meshgrid(*sides, indexing="ij"), axis=-1).astype(float)
    at = grid.to_index(common.to_mm(index))
    covered = np.all((at >= -0.5) & (at <= np.array(grid.shape) - 0.5), axis=-1)
    finer = np.maximum(spacing_mm / grid.spacing_mm / 2 - 0.5, 0)
    smooth, share = (ndimage.gaussian_filter(one.astype(np.float32), finer) for one in (volume, mask))
    image, cord_share = (
        ndimage.map_coordinates(one, np.moveaxis(at, -1, 0), order=1, mode="nearest")
        for one in (smooth, share)
    )
    np.savez_compressed(
        path,
        image=(image / np.median(volume[mask])).clip(0, 60).astype(np.float16),
        cord=(cord_share * covered).astype(np.float16),
        covered=covered,
        spacing_mm=spacing_mm,
    )


def write_crop(
    out: Path, source: Source, volume: NDArray[np.float32], mask: NDArray[np.bool_], grid: space.Grid
) -> None:
    """Write the crop of one scan, with no lesion in it."""
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


def _cord(data: Path, stem: str, localiser: Localiser) -> tuple[NDArray[np.bool_], bool]:
    """Return the manual cord mask of a scan, or the one that the localiser finds, and whether it is the former."""
    manual = sorted(data.rglob(f"{stem}_label-SC_seg.nii.gz"))
    if manual:
        return images.read_mask(manual[0])[0], True
    return localiser(*images.read_volume(_raw(data, stem))) > 0, False


if __name__ == "__main__":
    sys.exit(main())
