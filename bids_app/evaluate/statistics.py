"""Statistics over participants: intervals by bootstrap, the paired comparison of two methods, correction for many comparisons."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

Values = NDArray[np.float64]
DRAWS = 2000


@dataclass(frozen=True)
class Comparison:
    """Method against baseline, paired by participant; positive gains favour the method.

    Attributes
    ----------
    participants : int
        Those for whom both have a value.
    gain : float
        Mean difference.
    low, high : float
        Its 95 % interval.
    effect : float
        Matched-pairs rank-biserial correlation, -1..1: the share of rank sums in favour, less that against.
    p : float
        Wilcoxon signed-rank test, two-sided; 1 where nothing differs.
    """

    participants: int
    gain: float
    low: float
    high: float
    effect: float
    p: float

    @property
    def stars(self) -> str:
        """``*`` for p < 0.1 and ``**`` for p < 0.05, as in Walsh et al. 2024."""
        return "**" if self.p < 0.05 else "*" if self.p < 0.1 else ""


def compare(method: Values, baseline: Values) -> Comparison:
    """Compare two methods on the same participants, in the same order; pairs with a NaN are left out.

    Raises
    ------
    ValueError
        The two differ in length, or no pair is left.
    """
    if method.shape != baseline.shape:
        raise ValueError(f"{method.shape} and {baseline.shape} values cannot be paired.")
    gain = method - baseline
    gain = gain[np.isfinite(gain)]
    if not len(gain):
        raise ValueError("there is no participant with a value for both.")
    low, high = interval(gain)
    moved = gain[gain != 0]
    if not len(moved):
        return Comparison(len(gain), 0.0, low, high, 0.0, 1.0)
    ranks = stats.rankdata(np.abs(moved))
    effect = float((ranks * np.sign(moved)).sum() / ranks.sum())
    p = float(stats.wilcoxon(moved).pvalue)
    return Comparison(len(gain), float(gain.mean()), low, high, effect, p)


def interval(values: Values, draws: int = DRAWS) -> tuple[float, float]:
    """Return the 95 % interval of the mean by bootstrap over participants (percentiles, fixed seed); NaN for no values."""
    if not len(values):
        return float("nan"), float("nan")
    random = np.random.default_rng(0)
    means = values[random.integers(0, len(values), (draws, len(values)))].mean(axis=1)
    low, high = np.percentile(means, [2.5, 97.5])
    return float(low), float(high)


def holm(p: Sequence[float]) -> list[float]:
    """Return p-values corrected by Holm's step-down procedure (Holm 1979), in the order given."""
    order = np.argsort(p)
    scaled = np.asarray(p, float)[order] * np.arange(len(p), 0, -1)
    corrected = np.empty(len(p))
    corrected[order] = np.minimum(1, np.maximum.accumulate(scaled))
    return [float(value) for value in corrected]


def wilson(hits: int, of: int) -> tuple[float, float]:
    """Return the 95 % interval of a share (Wilson 1927); NaN where there is nothing to share."""
    if not of:
        return float("nan"), float("nan")
    found = stats.binomtest(hits, of).proportion_ci(method="wilson")
    return float(found.low), float(found.high)


def poisson(count: int) -> tuple[float, float]:
    """Return the exact 95 % interval of the mean of a Poisson count (Garwood 1936)."""
    low = float(stats.chi2.ppf(0.025, 2 * count) / 2) if count else 0.0
    return low, float(stats.chi2.ppf(0.975, 2 * count + 2) / 2)
