"""What is computed over cells: shares, and means and worst values of ASR and of the drop of CA, each with its interval.

Shares have exact intervals (Clopper-Pearson) over cells. Means have bootstrap intervals over victims: a victim's cells (forms, draws) stand
or fall together, so victims are resampled, not cells. The worst cell comes with its own interval: of its rate, or, for a drop of CA, of the
pairs (Agresti-Min). The interval of a share takes cells for independent, which two forms of one victim are not; the groups by form do
not have that flaw.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from scipy import stats

from rnpc.bench.lines import Line
from rnpc.stats import rate

DRAWS = 10_000
MARGIN = 0.10
"""How much more of the trigger than the document says may be left, before the document counts as having deceived."""
Value = Callable[[Line], float]
Bounds = Callable[[Line], tuple[float, float]]


def victims(rows: Sequence[Line]) -> int:
    """How many victims."""
    return len({each["number"] for each in rows})


def share(hits: Sequence[bool]) -> dict[str, Any] | None:
    """A share of cells; None without any."""
    if not hits:
        return None
    r = rate(sum(hits), len(hits))
    return {"value": r.value, "hits": r.hits, "cells": r.n, "interval": [r.low, r.high]}


def spread(rows: Sequence[Line], value: Value, bounds: Bounds) -> dict[str, Any] | None:
    """Mean and worst (largest) of a value; None without any cell."""
    if not rows:
        return None
    by_victim: dict[int, list[float]] = {}
    for each in rows:
        by_victim.setdefault(each["number"], []).append(value(each))
    means = np.array([np.mean(values) for values in by_victim.values()])
    worst = max(rows, key=value)
    return {
        "mean": float(means.mean()),
        "interval": bootstrap(means),
        "worst": {"value": value(worst), "interval": list(bounds(worst)), "number": worst["number"], "form": worst["form"]},
    }


def bootstrap(means: np.ndarray) -> list[float]:
    """95 % percentile interval of the mean over victims, from a fixed seed."""
    rows = np.random.default_rng(0).integers(len(means), size=(DRAWS, len(means)))
    low, high = np.quantile(means[rows].mean(1), [0.025, 0.975])
    return [float(low), float(high)]


def asr(when: str) -> Value:
    """ASR of a line before, after, or at the oracle's cut."""
    return lambda each: float(each[when]["asr"]["value"])


def asr_bounds(when: str) -> Bounds:
    """Its interval."""
    return lambda each: (each[when]["asr"]["interval"][0], each[when]["asr"]["interval"][1])


def drop(each: Line) -> float:
    """The drop of CA, in [-1, 1]."""
    return float(each["drop"]["value"])


def drop_bounds(each: Line) -> tuple[float, float]:
    """Its two-sided 95 % interval (Agresti and Min 2005: half an image in each discordant cell)."""
    return paired(each["drop"]["lost"], each["drop"]["won"], each["drop"]["images"])


def paired(lost: int, won: int, n: int) -> tuple[float, float]:
    """Interval of (lost - won) / n; nothing lost and nothing won is no change at all, and has no width."""
    if lost == won == 0:
        return 0.0, 0.0
    p10, p01, m = (lost + 0.5) / (n + 2), (won + 0.5) / (n + 2), n + 2
    wide = float(stats.norm.ppf(0.975)) * float(np.sqrt(max(p10 + p01 - (p10 - p01) ** 2, 0.0) / m))
    return p10 - p01 - wide, p10 - p01 + wide


def oracle_drop(each: Line) -> float:
    """The drop of CA at the oracle's cut."""
    return float(each["before"]["ca"]["value"] - each["oracle"]["ca"]["value"])


def oracle_bounds(each: Line) -> tuple[float, float]:
    """Bounds from the two rates' own intervals: wide, since the pairs are not kept."""
    old, new = each["before"]["ca"]["interval"], each["oracle"]["ca"]["interval"]
    return old[0] - new[1], old[1] - new[0]


def deceived(each: Line) -> bool | None:
    """Whether the trigger succeeds by more than `MARGIN` more often than the document says it does; None where it says nothing, and for a
    clean victim."""
    left = (each.get("left") or {}).get("success")
    if left is None or each["after"]["asr"] is None:
        return None
    return bool(each["after"]["asr"]["value"] > left + MARGIN)


def verdicts(rows: Sequence[Line]) -> dict[str, int]:
    """How often each verdict was given, the known ones first; `none` where a method gives none."""
    said = [each["verdict"] or "none" for each in rows]
    return {verdict: said.count(verdict) for verdict in dict.fromkeys(["backdoored", "clean", "inconclusive", *said])}
