"""Intervals for counts and the paired bound by which a cut is judged.

A rate k of n is reported with its Clopper-Pearson interval (exact, conservative). Two predictions on the same images are compared in
pairs: with `lost` images right before and wrong after, and `won` the other way round, the accuracy drop is (lost - won) / n.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import stats


@dataclass(frozen=True)
class Rate:
    """`hits` of `n`, with the bounds of a two-sided 95 % Clopper-Pearson interval."""

    hits: int
    n: int
    low: float
    high: float

    @property
    def value(self) -> float:
        """The rate itself, in [0, 1]; nan for n = 0."""
        return self.hits / self.n if self.n else float("nan")


def rate(hits: int, n: int, level: float = 0.95) -> Rate:
    """Clopper-Pearson interval of hits / n (Clopper and Pearson 1934)."""
    tail = (1 - level) / 2
    low = float(stats.beta.ppf(tail, hits, n - hits + 1)) if hits > 0 else 0.0
    high = float(stats.beta.ppf(1 - tail, hits + 1, n - hits)) if hits < n else 1.0
    return Rate(hits, n, low, high)


def drop_bound(before: np.ndarray, after: np.ndarray, level: float = 0.95) -> tuple[float, float]:
    """Accuracy drop of paired 0/1 outcomes [n] and its one-sided upper bound.

    The drop is p10 - p01 of a paired table. The upper bound takes the larger of two bounds, so that it is honest at both ends: the
    Agresti-Min adjusted Wald bound (half an observation in each discordant cell) and, where no image was won, the exact binomial bound
    of the losses alone.
    """
    n = len(before)
    lost = int(np.sum(before.astype(bool) & ~after.astype(bool)))
    won = int(np.sum(~before.astype(bool) & after.astype(bool)))
    drop = (lost - won) / n
    p10, p01, m = (lost + 0.5) / (n + 2), (won + 0.5) / (n + 2), n + 2
    spread = np.sqrt(max(p10 + p01 - (p10 - p01) ** 2, 0.0) / m)
    wald = p10 - p01 + float(stats.norm.ppf(level)) * float(spread)
    exact = float(stats.beta.ppf(level, lost + 1, n - lost)) if won == 0 and lost < n else wald
    return drop, float(max(wald, exact, drop))


def allowance(before: np.ndarray, max_drop: float, level: float = 0.95) -> float:
    """Accuracy drop that is allowed where nobody set a limit: `max_drop`, or as much as the accuracy itself is uncertain by (one-sided
    normal bound) on these 0/1 outcomes [n] of the original, but at most twice `max_drop`.

    The bound of a paired drop is as wide as the images whose answer changes are many, and a weak model changes many either way: at 75 % of
    320 images its bound hardly comes below 3 points where nothing is lost at all.
    """
    share = float(np.mean(before)) if len(before) else 1.0
    error = float(stats.norm.ppf(level)) * np.sqrt(share * (1 - share) / max(len(before), 1))
    return float(min(max(max_drop, error), 2 * max_drop))


def least_images(max_drop: float, level: float = 0.95) -> int:
    """How many judged images prove a drop of at most `max_drop` when none is lost (149 for 2 %, none for a drop of everything)."""
    if max_drop >= 1:
        return 0
    return int(np.ceil(np.log(1 - level) / np.log(1 - max_drop)))
