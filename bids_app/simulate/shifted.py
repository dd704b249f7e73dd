"""Simulated cords unlike those of training: noisier, thicker slices, other contrast. For testing only."""

from __future__ import annotations

from dataclasses import replace

from ..sequences import AXIAL, SAGITTAL
from .contrast import Levels, draw_levels
from .draw import Draw
from .scan import Protocol, draw_protocol

#: Training draws noise up to 0.1 of white matter (`scan.NOISE`), axial slices up to 7.5 mm, sagittal ones up to 4.2 mm.
NOISE = (0.1, 0.15)
AXIAL_MM, SAGITTAL_MM = (7.5, 9.0), (4.2, 5.0)


def shifted_protocol(draw: Draw, sequence: str) -> Protocol:
    """Draw an acquisition that is worse than any of training: half of the time the noise, else the slice thickness."""
    protocol = draw_protocol(draw, sequence)
    if draw.chance(0.5) or protocol.plane not in (AXIAL, SAGITTAL):
        return replace(protocol, noise=draw.uniform(*NOISE))
    return replace(protocol, slice_mm=draw.uniform(*(AXIAL_MM if protocol.plane == AXIAL else SAGITTAL_MM)))


def shifted_levels(draw: Draw, sequence: str) -> Levels:
    """Draw brightness beyond the ranges of training: fluid and grey matter further from white matter."""
    levels = draw_levels(draw, sequence, odd=False)
    farther = draw.uniform(1.15, 1.35)
    return replace(levels, csf=1 + (levels.csf - 1) * farther if levels.csf > 1 else levels.csf / farther,
                   grey=1 + (levels.grey - 1) * farther, texture=draw.uniform(0.05, 0.08))  # fmt: skip
