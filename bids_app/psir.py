"""Phase-sensitive inversion recovery: which way up the signal is, and where its zero lies.

White matter is bright in these images and fluid darkest. But exports differ: some have the sign turned, some an offset, some no
negative numbers. So both are found from the image.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from . import space
from .space import FloatArray

#: Name in the table of sequences.
PSIR = "PSIR"
#: Fluid is looked for at these distances from the cord, mm.
AROUND_MM = (0.7, 4.0)
#: Percentiles of the surroundings that stand for what is darkest and brightest there.
LOW, HIGH = 5.0, 95.0


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
    away = ndimage.distance_transform_edt(cord < 0.5, sampling=space.SPACING_MM)
    around = coverage & (away >= AROUND_MM[0]) & (away <= AROUND_MM[1])
    if min(int(inside.sum()), int(around.sum())) < space.LEAST_CORD_VOXELS:
        return None
    level = float(np.median(image[inside]))
    darkest, brightest = np.percentile(image[around], [LOW, HIGH])
    turned = bool(brightest - level > level - darkest)
    signal = image - darkest if not turned else brightest - image
    return Upright(np.where(coverage, signal, 0).astype(np.float32), turned)
