"""How bright each tissue is in each sequence: ranges relative to white matter, widely randomised.

The ranges are priors of this simulator, chosen from general MR physics, not measurements.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from .draw import Draw
from .lesions import LEAST_CHANGE

Range = tuple[float, float]


@dataclass(frozen=True)
class Palette:
    """Ranges of one sequence, white matter = 1.

    ``lesion`` is the relative change of cord signal inside a lesion. ``grey`` is where grey matter mostly lies; one image in
    five goes up to ``grey_seldom``.
    """

    grey: Range
    csf: Range
    bone: Range
    disc: Range
    fat: Range
    muscle: Range
    ligament: Range
    lesion: Range
    air_noise: bool = False
    grey_seldom: Range | None = None


#: T1 and T2 of white and grey matter at 3 T (Smith et al. 2008) give 1.04 by T2 weighting alone.
_SELDOM = (1.1, 1.4)

PALETTES: dict[str, Palette] = {
    "T2Sag": Palette(
        grey=(1.02, 1.1), csf=(1.3, 5.0), bone=(0.25, 1.15), disc=(0.15, 1.4), fat=(0.4, 2.0),
        muscle=(0.15, 0.7), ligament=(0.05, 0.4), lesion=(0.1, 0.8), grey_seldom=_SELDOM,
    ),
    "STIR": Palette(
        grey=(1.02, 1.1), csf=(1.3, 5.0), bone=(0.1, 0.5), disc=(0.1, 1.0), fat=(0.02, 0.3),
        muscle=(0.2, 0.7), ligament=(0.05, 0.4), lesion=(0.1, 0.9), grey_seldom=_SELDOM,
    ),
    "T2starAx": Palette(
        grey=(1.02, 1.65), csf=(0.9, 3.0), bone=(0.1, 0.6), disc=(0.3, 1.2), fat=(0.3, 1.5),
        muscle=(0.3, 1.0), ligament=(0.05, 0.5), lesion=(0.1, 0.65),
    ),
    "T1": Palette(
        grey=(0.72, 0.98), csf=(0.12, 0.65), bone=(0.4, 1.3), disc=(0.4, 0.9), fat=(1.1, 2.6),
        muscle=(0.4, 0.9), ligament=(0.1, 0.5), lesion=(-0.4, -0.1),
    ),
    "T2Ax": Palette(
        grey=(1.02, 1.1), csf=(1.3, 5.0), bone=(0.2, 1.1), disc=(0.15, 1.2), fat=(0.4, 2.0),
        muscle=(0.15, 0.7), ligament=(0.05, 0.4), lesion=(0.1, 0.8), grey_seldom=_SELDOM,
    ),
    "MP2RAGE": Palette(
        grey=(0.55, 0.92), csf=(0.02, 0.35), bone=(0.2, 0.9), disc=(0.3, 0.8), fat=(0.8, 1.6),
        muscle=(0.4, 0.8), ligament=(0.1, 0.5), lesion=(-0.5, -0.1), air_noise=True,
    ),
    # With its zero at the fluid, as the app sets it: see `psir`.
    "PSIR": Palette(
        grey=(0.5, 0.92), csf=(0.0, 0.12), bone=(0.2, 1.0), disc=(0.2, 0.9), fat=(0.7, 1.7),
        muscle=(0.3, 0.9), ligament=(0.15, 0.6), lesion=(-0.55, -0.1), air_noise=True,
    ),
}  # fmt: skip

#: Chance that a sequence shows a given lesion at all.
VISIBILITY: dict[str, float] = {
    "T2Sag": 0.65, "STIR": 0.9, "T2starAx": 0.9, "T1": 0.25, "T2Ax": 0.8, "MP2RAGE": 0.9,
    "PSIR": 0.92,
}  # fmt: skip

#: Any contrast: for finding cords in images of whatever weighting.
_ANY = Palette(
    grey=(0.7, 1.4), csf=(0.12, 4.0), bone=(0.1, 1.4), disc=(0.1, 1.5), fat=(0.05, 2.5),
    muscle=(0.1, 1.2), ligament=(0.05, 0.6), lesion=(0.0, 0.0),
)  # fmt: skip

#: Gradient echoes whose contrast is poor.
_POOR = Palette(
    grey=(1.0, 1.15), csf=(0.85, 1.25), bone=(0.1, 0.9), disc=(0.5, 1.3), fat=(0.8, 2.8),
    muscle=(0.6, 1.2), ligament=(0.2, 0.8), lesion=(0.0, 0.0),
)  # fmt: skip


@dataclass(frozen=True)
class Levels:
    """Brightness drawn for one image of one participant, white matter = 1.

    ``horns`` multiplies the grey contrast in the quadrants (left front, right front, left back, right back);
    ``texture`` and ``tracts`` are the spread of white matter in spots and in bundles along the cord; ``columns`` is the
    relative difference of the posterior columns to the rest of the white matter.
    """

    grey: float
    csf: float
    bone: float
    disc: float
    fat: float
    muscle: float
    ligament: float
    horns: tuple[float, float, float, float]
    texture: float
    tracts: float
    columns: float


def draw_levels(draw: Draw, sequence: str, odd: bool = True) -> Levels:
    """Draw the brightness of every tissue for one image; ``odd`` allows T2-weighted images with CSF as dark as the cord."""
    palette = PALETTES[sequence]
    csf = draw.uniform(*palette.csf)
    if odd and sequence in ("T2Sag", "T2Ax", "STIR") and draw.chance(0.06):
        csf = draw.uniform(0.6, 0.85) if draw.chance(0.5) else draw.uniform(1.15, 1.3)
    return _levels(draw, palette, csf)


def any_levels(draw: Draw, sequence: str) -> Levels:
    """Draw levels for a localiser: often the sequence's own, else any, in which cord and fluid may hardly differ."""
    if draw.chance(0.5):
        return draw_levels(draw, sequence)
    if draw.chance(0.35):
        # Gradient echoes with little weighting, with or without magnetisation transfer: only grey matter and fat stand out.
        return _levels(draw, _POOR, draw.uniform(0.85, 1.25))
    csf = draw.log_uniform(0.12, 0.8) if draw.chance(0.45) else draw.log_uniform(1.2, 4.0)
    return _levels(draw, _ANY, csf)


def _levels(draw: Draw, palette: Palette, csf: float) -> Levels:
    """Draw what a palette leaves open."""
    seldom = draw.chance(0.2)
    side, front = draw.uniform(-0.35, 0.35), draw.uniform(-0.5, 0.5)
    left_front, right_front, left_back, right_back = (
        (1 + s * side) * (1 + f * front) * draw.uniform(0.8, 1.2) for f in (1, -1) for s in (-1, 1)
    )
    return Levels(
        grey=draw.uniform(*(palette.grey_seldom if seldom and palette.grey_seldom else palette.grey)),
        csf=csf,
        bone=draw.uniform(*palette.bone),
        disc=draw.uniform(*palette.disc),
        fat=draw.uniform(*palette.fat),
        muscle=draw.uniform(*palette.muscle),
        ligament=draw.uniform(*palette.ligament),
        horns=(left_front, right_front, left_back, right_back),
        texture=draw.uniform(0.0, 0.06),
        tracts=draw.uniform(-0.11, 0.11),
        columns=(1 if palette.lesion[1] > 0.1 else -1) * draw.uniform(-0.18, 0.14),
    )


def lesion_change(draw: Draw, sequence: str, strength: float, visibility: float) -> float:
    """Draw the relative change of signal of one lesion in one sequence; below `LEAST_CHANGE` where it does not show.

    ``strength`` in 0..1 belongs to the lesion: a lesion that is faint in one sequence tends to be faint in
    the others. ``visibility`` is the chance that it shows.
    """
    palette = PALETTES[sequence]
    low, high = sorted(palette.lesion, key=abs)
    if not draw.chance(visibility):
        return math.copysign(draw.uniform(0, LEAST_CHANGE), high)
    position = min(max(0.7 * strength + 0.3 * draw.uniform(0, 1), 0.0), 1.0)
    return low + (high - low) * position
