"""Voxel-wise measures of one predicted mask against one reference mask."""

from __future__ import annotations

import numpy as np
from surface_distance import (
    compute_average_surface_distance,
    compute_robust_hausdorff,
    compute_surface_distances,
)

from .scores import Mask, dice, precision, sensitivity

#: Percentile of the Hausdorff distance.
PERCENT = 95


def voxelwise(prediction: Mask, reference: Mask, spacing_mm: tuple[float, float, float]) -> dict[str, float]:
    """Return the measures by the names of their columns.

    Volumes in mm3, distances in mm. Two empty masks have Dice, sensitivity and precision 1 and distances of 0; where one is
    empty, Dice is 0 and the distances are NaN: there is no surface to measure to.
    """
    voxel_mm3 = float(np.prod(spacing_mm))
    volumes = [float(mask.sum() * voxel_mm3) for mask in (reference, prediction)]
    hausdorff, average = distances(prediction, reference, spacing_mm)
    return {
        "dice": dice(prediction, reference),
        "sensitivity": sensitivity(prediction, reference),
        "precision": precision(prediction, reference),
        "volume_reference_mm3": volumes[0],
        "volume_prediction_mm3": volumes[1],
        "volume_difference_mm3": volumes[1] - volumes[0],
        "hd95_mm": hausdorff,
        "assd_mm": average,
    }


def distances(
    prediction: Mask, reference: Mask, spacing_mm: tuple[float, float, float]
) -> tuple[float, float]:
    """Return the 95 % Hausdorff distance and the average symmetric surface distance, mm, weighted by surface area."""
    if not prediction.any() and not reference.any():
        return 0.0, 0.0
    if not prediction.any() or not reference.any():
        return float("nan"), float("nan")
    found = compute_surface_distances(reference, prediction, spacing_mm)
    both = compute_average_surface_distance(found)
    areas = [float(found[f"surfel_areas_{side}"].sum()) for side in ("gt", "pred")]
    average = (both[0] * areas[0] + both[1] * areas[1]) / sum(areas)
    return float(compute_robust_hausdorff(found, PERCENT)), float(average)
