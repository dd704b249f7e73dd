"""Scores of one predicted lesion mask against one reference mask."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

#: 26-connectivity.
CONNECTED = np.ones((3, 3, 3), int)
#: A lesion counts as found where some lesion of the other side overlaps it with at least this IoU.
LEAST_IOU = 0.2

Mask = NDArray[np.bool_]


def dice(prediction: Mask, reference: Mask) -> float:
    """Return the Dice coefficient; 1 where both masks are empty, 0 where one is."""
    total = int(prediction.sum()) + int(reference.sum())
    return 2 * int((prediction & reference).sum()) / total if total else 1.0


def sensitivity(prediction: Mask, reference: Mask) -> float:
    """Return the share of reference voxels that are predicted; 1 where there are none."""
    return float((prediction & reference).sum() / reference.sum()) if reference.any() else 1.0


def precision(prediction: Mask, reference: Mask) -> float:
    """Return the share of predicted voxels that are right; 1 where there are none."""
    return sensitivity(reference, prediction)


def lesion_counts_iou(prediction: Mask, reference: Mask) -> tuple[int, int, int, int]:
    """Count lesions by the rule of the MS-Multi-Spine challenge: found where any IoU is at least 0.2.

    One predicted lesion may serve several reference lesions, and the other way round. 26-connectivity.

    Returns
    -------
    found, missed : int
        Reference lesions.
    right, wrong : int
        Predicted lesions.
    """
    labels_p, count_p = ndimage.label(prediction, CONNECTED)
    labels_r, count_r = ndimage.label(reference, CONNECTED)
    if not count_p or not count_r:
        return 0, count_r, 0, count_p
    both = np.bincount(
        labels_r.ravel() * (count_p + 1) + labels_p.ravel(), minlength=(count_r + 1) * (count_p + 1)
    )
    table = both.reshape(count_r + 1, count_p + 1)
    size_r, size_p = table.sum(axis=1)[1:], table.sum(axis=0)[1:]
    overlap = table[1:, 1:]
    iou = overlap / (size_r[:, None] + size_p[None, :] - overlap)
    hit = iou >= LEAST_IOU
    found, right = int(hit.any(axis=1).sum()), int(hit.any(axis=0).sum())
    return found, count_r - found, right, count_p - right


def lesion_f1_iou20(prediction: Mask, reference: Mask) -> float:
    """Return the lesion F1 by `lesion_counts_iou`; 1 where both masks are empty, 0 where one is."""
    found, missed, right, wrong = lesion_counts_iou(prediction, reference)
    if found + missed + right + wrong == 0:
        return 1.0
    if found + missed == 0 or right + wrong == 0:
        return 0.0
    recall, exact = found / (found + missed), right / (right + wrong)
    return 2 * recall * exact / (recall + exact) if recall + exact else 0.0
