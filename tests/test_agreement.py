"""The rule iou20 beside panoptica's one-to-one matching; run by ``make agreement``, in an environment that has panoptica."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy import ndimage

from bids_app.evaluate import scores

panoptica = pytest.importorskip("panoptica")

SHAPE = (16, 16, 16)
box = st.tuples(*[st.integers(0, 12)] * 3, *[st.integers(1, 6)] * 3)
boxes = st.lists(box, min_size=1, max_size=5)


def painted(parts):
    mask = np.zeros(SHAPE, bool)
    for x, y, z, a, b, c in parts:
        mask[x : x + a, y : y + b, z : z + c] = True
    return mask


def one_to_one(prediction, reference):
    """Return true positives, false positives and false negatives by panoptica."""
    pair = panoptica.UnmatchedInstancePair(
        *(ndimage.label(mask, scores.CONNECTED)[0].astype(np.uint8) for mask in (prediction, reference))
    )
    evaluator = panoptica.Panoptica_Evaluator(
        expected_input=panoptica.InputType.UNMATCHED_INSTANCE,
        instance_matcher=panoptica.NaiveThresholdMatching(matching_threshold=scores.IOU_PERCENT / 100),
    )
    result = evaluator.evaluate(pair.prediction_arr, pair.reference_arr)["ungrouped"]
    return result.tp, result.fp, result.fn


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(boxes, boxes)
def test_counts_agree_where_no_lesion_is_hit_twice(first, second):
    prediction, reference = painted(first), painted(second)
    counts = scores.count_iou20(prediction, reference)
    tp, fp, fn = one_to_one(prediction, reference)
    hits = scores.hits_iou20(scores.overlaps(prediction, reference, scores.CONNECTED))
    assert (counts.found + counts.missed, counts.right + counts.wrong) == (tp + fn, tp + fp)
    if hits.sum(axis=0).max() <= 1 and hits.sum(axis=1).max() <= 1:
        assert (counts.found, counts.right) == (tp, tp)
    else:
        # One lesion may serve several here, but only one there.
        assert counts.found >= tp
        assert counts.right >= tp
