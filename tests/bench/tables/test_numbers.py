"""Shares, means, worst cells and their intervals."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from rnpc.bench.tables import numbers
from rnpc.bench.tables.numbers import bootstrap, paired

Make = Callable[..., dict[str, Any]]


def test_intervals() -> None:
    assert bootstrap(np.array([0.5])) == [0.5, 0.5]
    low, high = paired(20, 5, 1000)
    assert low < 0.015 < high and paired(0, 0, 10) == (0.0, 0.0)


def test_shares_are_exact() -> None:
    found = numbers.share([True] * 3)
    assert found is not None and found["interval"][0] == pytest.approx(0.025 ** (1 / 3)) and numbers.share([]) is None


def test_a_mean_is_over_victims(line: Make) -> None:
    rows = [line(1, (1000, 0)), line(1, (1000, 100), form="batchnorm"), line(2, (1000, 50))]
    found = numbers.spread(rows, numbers.asr("after"), numbers.asr_bounds("after"))
    assert found is not None and found["mean"] == pytest.approx(0.05) and found["worst"]["form"] == "batchnorm"
    assert numbers.victims(rows) == 2 and numbers.spread([], numbers.drop, numbers.drop_bounds) is None


@pytest.mark.parametrize(
    ("left", "asr", "hit"),
    [(0.02, 121, True), (0.02, 120, False), (0.5, 10, False), (None, 900, None), ("missing", 900, None)],
)
def test_deceived(line: Make, left: Any, asr: int, hit: bool | None) -> None:
    """More of the trigger is left than the document says, by more than ten points."""
    row = line(1, (1000, asr), left=None if left == "missing" else {"success": left, "told": True})
    assert numbers.deceived(row) is hit


def test_a_clean_victim_deceives_nobody(line: Make) -> None:
    assert numbers.deceived(line(1, None, left={"success": 0.0, "told": True})) is None


def test_verdicts(line: Make) -> None:
    rows = [line(1, (1, 1)), line(2, None), line(3, None, verdict=None)]
    assert numbers.verdicts(rows) == {"backdoored": 1, "clean": 1, "inconclusive": 0, "none": 1}


def test_the_oracles_drop(line: Make) -> None:
    low, high = numbers.oracle_bounds(line(1, (1000, 10)))
    assert numbers.oracle_drop(line(1, (1000, 10))) == pytest.approx(0.005) and low < 0.005 < high
