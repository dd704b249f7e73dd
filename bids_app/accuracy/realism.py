"""Simulated beside real scans: a handful of plain statistics of both, and a picture.

``python -m bids_app.accuracy.realism DATA [PICTURE]`` prints the table.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage

from .. import space
from ..localise import Localiser
from ..sequences import SLOTS
from ..simulate.patches import PATCH_LENGTH, Patch, make_patch
from .scans import LESION_FREE, SLOT_OF, Scan, open_scans

if TYPE_CHECKING:
    from matplotlib.axes import Axes

#: Simulated samples of each sequence, and the first seed: far from those of training.
SAMPLES, FIRST_SEED = 60, 8_000_000_000
#: A real value should lie between these percentiles of the simulated ones.
RANGE = (2.5, 97.5)


@dataclass(frozen=True)
class Statistics:
    """Of one crop; all but the sharpness relative to the median of the cord.

    Attributes
    ----------
    fluid : float
        Median signal 1 to 2.5 mm outside the cord: fluid, for the most part.
    noise : float
        Spread of the difference of neighbouring voxels across the slice direction, inside the cord.
    sharpness_per_mm : float
        Steepest change of the mean signal across the cord's edge, over the whole change.
    low, high, skewed : float
        5th and 95th percentile in the cord, and how much further the 95th is from the median than the 5th.
    """

    fluid: float
    noise: float
    sharpness_per_mm: float
    low: float
    high: float
    skewed: float


NAMES = tuple(Statistics.__dataclass_fields__)


def statistics(
    image: NDArray[np.float32], coverage: NDArray[np.bool_], cord: NDArray[np.float32]
) -> Statistics | None:
    """Return the statistics of one image in the common space, or None where it shows too little of the cord."""
    relative = space.relative_to_cord(image, coverage, cord)
    if relative is None:
        return None
    inside = cord >= 0.5
    # Signed distance from the cord's edge in mm, positive outside; slice by slice.
    outside = ndimage.distance_transform_edt(~inside, sampling=(0.5, 0.5, 100))
    depth = ndimage.distance_transform_edt(inside, sampling=(0.5, 0.5, 100))
    distance = np.where(inside, -depth + 0.25, outside - 0.25)
    ring = coverage & (distance >= 1) & (distance <= 2.5)
    core = coverage & (distance <= -0.75)
    if core.sum() < 200 or ring.sum() < 200:
        return None
    jumps = (relative[1:] - relative[:-1])[core[1:] & core[:-1]]
    edges = np.arange(-2, 2.6, 0.5)
    profile = [float(np.median(relative[coverage & (abs(distance - d) <= 0.25)])) for d in edges]
    change = float(np.median(relative[ring])) - profile[0]
    steepest = max(np.diff(profile) * np.sign(change)) / 0.5 / max(abs(change), 0.05)
    low, high = np.percentile(relative[core], [5, 95])
    return Statistics(
        fluid=float(np.median(relative[ring])),
        noise=float(1.4826 * np.median(np.abs(jumps)) / np.sqrt(2)),
        sharpness_per_mm=float(steepest),
        low=float(low),
        high=float(high),
        skewed=float(high + low),
    )


def read_all(data: Path) -> dict[str, Scan]:
    """Read the lesion-free scans of all but test people: the simulator is made beside them."""
    return {scan.name: scan for scan in open_scans(data, Localiser(torch.device("cpu")))}


def middle(cord: NDArray[np.float32]) -> slice:
    """Return the 32 mm in the middle of a cord: as much as a simulated sample shows."""
    slices = np.flatnonzero((cord >= 0.5).any(axis=(0, 1)))
    centre = int(slices.mean())
    return slice(max(0, centre - PATCH_LENGTH // 2), centre + PATCH_LENGTH // 2)


def simulated(sequence: str, samples: int = SAMPLES) -> list[Patch]:
    """Return samples of one sequence alone, half of which have lesions or more."""
    presence = {name: float(name == sequence) for name in SLOTS}
    return [make_patch(FIRST_SEED + n, presence=presence) for n in range(samples)]


def compare(scans: dict[str, Scan], samples: int = SAMPLES) -> Iterator[tuple[str, str, float, float, float]]:
    """Yield scan, statistic, real value, and the range of the simulated values."""
    for sequence in dict.fromkeys(SLOT_OF[LESION_FREE[name]] for name in scans):
        patches = simulated(sequence, samples)
        made = [
            statistics(p.images[0].astype(np.float32), p.coverage[0], p.cord.astype(np.float32))
            for p in patches
        ]
        for name, scan in scans.items():
            if SLOT_OF[LESION_FREE[name]] != sequence:
                continue
            part = (..., middle(scan.crop.cord))
            real = statistics(scan.crop.images[0][part], scan.crop.coverage[0][part], scan.crop.cord[part])
            for statistic in NAMES if real else ():
                low, high = np.percentile([getattr(one, statistic) for one in made if one], RANGE)
                yield name, statistic, float(getattr(real, statistic)), float(low), float(high)


def table(rows: Iterable[tuple[str, str, float, float, float]]) -> Iterator[str]:
    """Yield the comparison as lines; what lies outside the simulated range is marked."""
    yield f"scan\tstatistic\treal\tsimulated, {RANGE[0]} to {RANGE[1]} %"
    total = within = 0
    for name, statistic, real, low, high in rows:
        inside = low <= real <= high
        total, within = total + 1, within + inside
        mark = "" if inside else "\toutside"
        yield f"{name}\t{statistic}\t{real:.3f}\t{low:.3f} to {high:.3f}{mark}"
    yield f"{within} of {total} real values lie within the simulated range"


def draw(scans: dict[str, Scan], picture: Path) -> None:
    """Draw one real scan of each sequence (first column) beside simulated ones, an axial and a sagittal cut of each."""
    from matplotlib.figure import Figure

    rows = ["sub-dev01_acq-sag_T2w", "sub-dev02_acq-sagcrop_T1w", "sub-dev05_acq-ax_run-1_T2starw"]
    figure = Figure(figsize=(12, 1.3 * len(rows)), layout="constrained")
    for row, name in zip(figure.subplots(len(rows), 14), rows, strict=True):
        scan, sequence = scans[name], SLOT_OF[LESION_FREE[name]]
        _cuts(row[:2], scan.crop.images[0, ..., middle(scan.crop.cord)], f"real {sequence}")
        for n, patch in enumerate(simulated(sequence, 12)[::2]):
            _cuts(row[2 + 2 * n : 4 + 2 * n], patch.images[0].astype(np.float32), "simulated")
    figure.savefig(picture, dpi=90)


def _cuts(axes: Iterable[Axes], image: NDArray[np.float32], title: str) -> None:
    axial, sagittal = image[:, :, image.shape[2] // 2], image[image.shape[0] // 2]
    top = float(np.percentile(image, 99))
    for axis, cut in zip(axes, (axial, sagittal), strict=True):
        axis.imshow(cut.T, cmap="gray", origin="lower", vmin=0, vmax=top, aspect="equal")
        axis.axis("off")
        axis.set_title(title if cut is axial else "", fontsize=7)


def main(argv: list[str] | None = None) -> int:
    """Print the table, and draw the picture where a file is named."""
    parser = argparse.ArgumentParser(prog="python -m bids_app.accuracy.realism", description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("picture", type=Path, nargs="?")
    options = parser.parse_args(argv)
    scans = read_all(options.data)
    for line in table(compare(scans)):
        sys.stdout.write(line + "\n")
    if options.picture:
        draw(scans, options.picture)
    return 0


if __name__ == "__main__":
    sys.exit(main())
