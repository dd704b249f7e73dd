"""Rigid transforms in ITK's text format, which ANTs, SimpleITK and 3D Slicer read."""

from __future__ import annotations

import numpy as np

from ..space import FloatArray

#: Between RAS+ mm, ours, and LPS+ mm, ITK's.
_FLIP = np.diag([-1.0, -1.0, 1.0, 1.0])


def itk_text(transform: FloatArray) -> str:
    """Write a transform as ITK does.

    Parameters
    ----------
    transform : array, shape (4, 4)
        Maps points of the reference (RAS+ mm) to points of the image (RAS+ mm). ITK wants the same direction:
        points of the fixed image (the reference) to points of the moving one, in LPS+ mm.
    """
    lps = _FLIP @ np.asarray(transform, float) @ _FLIP
    numbers = [*lps[:3, :3].ravel(), *lps[:3, 3]]
    # Adding 0 turns -0 into 0: equal transforms give equal bytes.
    parameters = " ".join(repr(float(number) + 0.0) for number in numbers)
    return (
        "#Insight Transform File V1.0\n#Transform 0\nTransform: AffineTransform_double_3_3\n"
        f"Parameters: {parameters}\nFixedParameters: 0 0 0\n"
    )
