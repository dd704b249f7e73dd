from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bids_app.tiling import blend_weight, tiled, window_starts, windows


@given(st.integers(1, 300), st.integers(8, 64), st.sampled_from([0.25, 0.5]))
def test_windows_cover_everything_and_stay_inside(length, size, overlap):
    starts = window_starts(length, size, overlap)
    covered = np.zeros(max(length, size), int)
    for start in starts:
        covered[start : start + size] += 1
    assert starts == sorted(set(starts)) or length <= size
    assert covered[:length].min() >= 1
    assert starts[-1] + size <= max(length, size)


def test_blending_gives_back_what_every_window_agrees_on():
    whole = np.random.default_rng(0).normal(size=(10, 12, 30)).astype(np.float32)
    np.testing.assert_allclose(tiled(whole.shape, (8, 8, 8), lambda window: whole[window]), whole, atol=1e-4)


def test_a_window_left_out_counts_as_zero():
    ones = np.ones((8, 8, 8), np.float32)
    result = tiled((8, 8, 16), (8, 8, 8), lambda window: ones if window[2].start == 0 else None)
    assert result[..., 0] == pytest.approx(1, abs=1e-3)
    assert result[..., -1] == pytest.approx(0)
    assert len(list(windows((8, 8, 16), (8, 8, 8)))) == 3


def test_weights_are_positive_and_highest_in_the_middle():
    weight = blend_weight((8, 8, 8))
    assert weight.min() > 0
    assert weight[4, 4, 4] == weight.max()
