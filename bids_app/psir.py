"""Phase-sensitive inversion recovery: which way up the signal is, and where its zero lies.

White matter is bright in these images and fluid darkest. But exports differ: some have the sign turned, some an offset, some no
negative numbers. So both are found from the image.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from . import space
from .space import FloatArray

#: Name in the table of sequences.
PSIR = "PSIR"
#: Right beside the cord there is fluid nearly everywhere: at these distances, mm, the middle value tells the sign.
BESIDE_MM = (0.4, 1.2)
#: Its level is looked for where the canal may reach, and is the percentile of what is darkest there.
AROUND_MM, DARKEST = (0.7, 4.0), 5.0


@dataclass(frozen=True, eq=False)
class Upright:
    """An image the right way up.

    Attributes
    ----------
    image : array
        Fluid at 0, the cord above; 0 where not covered.
    turned : bool
        Whether the sign of the file was turned.
    """

    image: NDArray[np.float32]
    turned: bool


def upright(image: FloatArray, coverage: NDArray[np.bool_], cord: FloatArray) -> Upright | None:
    """Return a PSIR image with fluid dark and at zero.

    Parameters
    ----------
    image : array, shape (X, Y, N)
        In the crop, in the file's own units.
    coverage : array of bool, same shape
    cord : array, same shape
        Inside from 0.5.

    Returns
    -------
    Upright or None
        None where too little of the cord or of its surroundings is covered.
    """
    inside = coverage & (cord >= 0.5)
    beside, around = (coverage & ring(cord >= 0.5, *reach) for reach in (BESIDE_MM, AROUND_MM))
    if min(int(part.sum()) for part in (inside, beside, around)) < space.LEAST_CORD_VOXELS:
        return None
    turned = bool(np.median(image[beside]) > np.median(image[inside]))
    signed = -image if turned else image
    signal = signed - np.percentile(signed[around], DARKEST)
    return Upright(np.where(coverage, signal, 0).astype(np.float32), turned)


def ring(mask: NDArray[np.bool_], low_mm: float, high_mm: float) -> NDArray[np.bool_]:
    """Return what lies between two distances from a mask, slice by slice; without scipy, which training does without."""
    return grown(mask, high_mm) & ~grown(mask, low_mm)


def grown(mask: NDArray[np.bool_], reach_mm: float) -> NDArray[np.bool_]:
    """Return a mask, shape (X, Y, N), with all that is no further than so much from it in its slice."""
    reach = int(reach_mm / space.SPACING_MM)
    padded = np.pad(mask, ((reach, reach), (reach, reach), (0, 0)))
    result = np.zeros_like(mask)
    for i in range(-reach, reach + 1):
        for j in range(-reach, reach + 1):
            if np.hypot(i, j) * space.SPACING_MM <= reach_mm:
                result |= padded[reach + i : reach + i + mask.shape[0], reach + j : reach + j + mask.shape[1]]
    return result
