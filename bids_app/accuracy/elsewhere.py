"""Parts of the development scans that show no cord: jaw, chest, muscle, vessels. A localiser must refuse each of them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..space import Grid

Span = tuple[int, int]


@dataclass(frozen=True)
class Part:
    """A box cut from a scan, in voxels; the upper ends are left out. Somebody has looked at every slice of it.

    Attributes
    ----------
    stem : str
        Of the scan.
    shows : str
    i, j, k : tuple of int
    """

    stem: str
    shows: str
    i: Span
    j: Span
    k: Span

    def cut(self, volume: NDArray[np.float32], grid: Grid) -> tuple[NDArray[np.float32], Grid]:
        """Return the box and its grid."""
        box = tuple(slice(*span) for span in (self.i, self.j, self.k))
        part = np.ascontiguousarray(volume[box])
        affine = grid.affine.copy()
        affine[:3, 3] = grid.to_mm(np.array([self.i[0], self.j[0], self.k[0]], float))
        return part, Grid(part.shape, affine)


PARTS = (
    Part("sub-dev01_acq-sag_T2w", "throat", (145, 190), (60, 195), (0, 52)),
    Part("sub-dev01_acq-sag_T2w", "chest", (125, 200), (0, 80), (0, 52)),
    Part("sub-dev12_acq-sag_T2w", "chest", (140, 205), (0, 70), (0, 52)),
    Part("sub-dev12_acq-sag_T2w", "muscle and fat of the back", (225, 280), (100, 170), (0, 52)),
    Part("sub-dev13_acq-sag_T2w", "jaw and tongue", (80, 150), (125, 185), (0, 52)),
    Part("sub-dev13_acq-sag_T2w", "muscle and fat of the back", (245, 300), (50, 110), (0, 52)),
    Part("sub-dev14_acq-sag_T2w", "jaw and tongue", (120, 200), (155, 225), (0, 52)),
    Part("sub-dev14_acq-sag_T2w", "chest and heart", (165, 230), (0, 80), (0, 52)),
    Part("sub-dev14_acq-sag_T2w", "muscle and fat of the back", (262, 318), (100, 170), (0, 52)),
    Part("sub-dev15_acq-sag_T2w", "jaw and tongue", (115, 195), (150, 225), (0, 52)),
    Part("sub-dev15_acq-sag_T2w", "muscle and fat of the back", (252, 292), (100, 190), (0, 52)),
    Part("sub-dev05_acq-ax_run-1_T2starw", "vessels and muscle, right", (85, 160), (180, 290), (0, 17)),
    Part("sub-dev05_acq-ax_run-1_T2starw", "vessels and muscle, left", (230, 310), (180, 290), (0, 17)),
    Part("sub-dev05_acq-ax_run-2_T2starw", "muscle of the neck", (110, 290), (85, 165), (0, 17)),
    Part("sub-dev06_acq-ax_run-1_T2starw", "vessels and muscle, right", (55, 140), (60, 190), (0, 17)),
    Part("sub-dev06_acq-ax_run-2_T2starw", "muscle of the neck", (80, 300), (5, 75), (0, 17)),
    Part("sub-dev08_acq-ax_flip-1_mt-off_MTS", "vessels and muscle, left", (152, 215), (90, 190), (0, 22)),
    Part("sub-dev08_acq-ax_flip-1_mt-on_MTS", "jaw and airway", (75, 180), (155, 230), (0, 22)),
    Part("sub-dev09_acq-ax_flip-1_mt-on_MTS", "shoulder, vessels, muscle", (40, 102), (90, 190), (0, 22)),
    Part("sub-dev10_acq-ax_T2starw", "vessels and muscle, left", (275, 365), (220, 320), (0, 15)),
    Part("sub-dev10_acq-ax_T2starw", "airway and jaw", (150, 300), (275, 400), (0, 15)),
    Part("sub-dev10_acq-ax_T2starw", "muscle and fat of the neck", (90, 360), (105, 185), (0, 15)),
)
