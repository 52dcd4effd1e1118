"""Every cell as it is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rnpc.bench.hardening import NEXT
from rnpc.bench.tables.table import left, named, row, table

Make = Callable[..., dict[str, Any]]


def test_failed_row(line: Make) -> None:
    failed = {k: v for k, v in line(1, (1000, 10)).items() if k in ("number", "victim", "form", "images", "seed", "method")}
    text = table("s", [{**failed, "status": "failed", "error": "a | b"}], 2)
    assert "0 done, 1 failed, 1 not run" in text and "failed: a / b" in text


def test_row_width(line: Make) -> None:
    heads = next(text for text in table("s", [], 0).split("\n") if text.startswith("| #"))
    assert all(len(row(each)) == heads.count(" | ") + 1 for each in (line(1, (1000, 10)), line(2, None), line(3, (1, 1), verdict=None)))


def test_words(line: Make) -> None:
    assert named(NEXT) == "next" and named(3) == "3"
    said = [left(line(1, (10, 1), left=each)) for each in (None, {"success": None, "told": False}, {"success": 0.123, "told": True})]
    assert said == ["-", "-", "12.3"] and left(line(1, (10, 1), left={"success": 0.5, "told": False})) == "50.0 (not told)"
