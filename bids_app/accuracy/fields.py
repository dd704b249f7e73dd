"""``python -m bids_app.accuracy.fields``: the built-in localiser on simulated scans of every part of the spine.

The scans and their true cords are simulated: what is measured is whether a field of view, a slice thickness or a sequence breaks
the localiser, not how well it finds cords of people (for that see `cords`).
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch

from .. import cord
from ..errors import CordError
from ..evaluate.scores import dice
from ..localise import Localiser
from ..simulate.draw import Draw
from ..simulate.participant import simulate_participant
from ..simulate.scan import Protocol, draw_protocol
from ..space import Grid
from .cords import centre_distance

FIRST_SEED = 80_001
HEADINGS = (
    *("field of view", "found", "Dice (median, least)", "distance of the centres (median, most, mm)"),
    *("CPU-s (median, most)", "header doubted: as it is, turned upside down"),
)


@dataclass(frozen=True)
class Field:
    """What is scanned: a sequence, half the length of a sagittal scan (mm), the level in its middle, the slice thickness (mm)."""

    name: str
    sequence: str
    half_mm: float = 100.0
    level: float = 5.5
    slice_mm: float | None = None

    def protocol(self, draw: Draw, sequence: str) -> Protocol:
        """Draw a protocol, with this slice thickness where there is one."""
        drawn = draw_protocol(draw, sequence)
        return drawn if self.slice_mm is None else replace(drawn, slice_mm=self.slice_mm)


FIELDS = (
    Field("neck, sagittal T2w", "T2Sag"),
    Field("neck, STIR", "STIR"),
    Field("neck, T1w", "T1"),
    Field("neck, MP2RAGE", "MP2RAGE", 90),
    Field("chest, sagittal T2w", "T2Sag", 110, 13),
    Field("loin with the conus, sagittal T2w", "T2Sag", 100, 19),
    Field("whole spine, sagittal T2w", "T2Sag", 230, 10),
    Field("neck, axial T2*w, 2 mm", "T2starAx", 60, slice_mm=2),
    Field("neck, axial T2*w, 5 mm", "T2starAx", 60, slice_mm=5),
    Field("neck, axial T2*w, 8 mm", "T2starAx", 60, slice_mm=8),
    Field("chest, axial T2w, 4 mm", "T2Ax", 100, 13, slice_mm=4),
    Field("loin with the conus, axial T2w, 4 mm", "T2Ax", 60, 19, slice_mm=4),
)


@dataclass(frozen=True)
class Found:
    """What became of one scan; ``dice`` is 0 where no cord was found."""

    dice: float
    distance_mm: float
    seconds: float
    doubted: bool = False
    doubted_over: bool = False


def main(argv: list[str] | None = None) -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="python -m bids_app.accuracy.fields", description=__doc__)
    parser.add_argument("--scans", type=int, default=5, help="simulated scans of each kind")
    parser.add_argument("--only", default="", help="kinds whose name holds this")
    options = parser.parse_args(argv)
    torch.set_num_threads(1)
    localiser = Localiser(torch.device("cpu"))
    sys.stdout.write("simulated scans\n" + "\t".join(HEADINGS) + "\n")
    for field in FIELDS:
        if options.only in field.name:
            sys.stdout.write(row(field.name, list(look(field, localiser, options.scans))) + "\n")
            sys.stdout.flush()
    return 0


def look(field: Field, localiser: Localiser, scans: int) -> Iterator[Found]:
    """Localise the cord in simulated scans of one kind."""
    for number in range(scans):
        (scan,) = simulate_participant(
            FIRST_SEED + number,
            (field.sequence,),
            field.half_mm,
            level=field.level,
            protocol=field.protocol,
        )
        volume, truth = np.asarray(scan.image.dataobj, np.float32), np.asarray(scan.cord.dataobj) > 0
        grid = Grid(volume.shape, scan.image.affine)
        began = time.process_time()
        try:
            mask = localiser(volume, grid) > 0
        except CordError:
            yield Found(0.0, float("nan"), time.process_time() - began)
            continue
        seconds = time.process_time() - began
        over = Grid(grid.shape, np.diag([1.0, 1.0, -1.0, 1.0]) @ grid.affine)
        doubted, doubted_over = (bool(cord.doubt(mask, one)) for one in (grid, over))
        yield Found(dice(mask, truth), centre_distance(mask, truth, grid)[0], seconds, doubted, doubted_over)


def row(name: str, outcomes: list[Found]) -> str:
    """Return a line of the table."""
    found = [one for one in outcomes if one.dice > 0]
    values = [one.dice for one in found] or [0.0]
    distances = [one.distance_mm for one in found] or [float("nan")]
    seconds = [one.seconds for one in outcomes]
    return "\t".join(
        [
            name,
            f"{len(found)} of {len(outcomes)}",
            f"{np.median(values):.3f}, {min(values):.3f}",
            f"{np.median(distances):.2f}, {max(distances):.2f}",
            f"{np.median(seconds):.1f}, {max(seconds):.1f}",
            f"{sum(one.doubted for one in found)}, {sum(one.doubted_over for one in found)} of {len(found)}",
        ]
    )


if __name__ == "__main__":
    sys.exit(main())
