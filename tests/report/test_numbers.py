"""Numbers as text."""

from __future__ import annotations

from rnpc.report.numbers import arrow, count, number, p_value, percent

NAN, INF = float("nan"), float("inf")


def test_shares() -> None:
    assert [percent(v) for v in (0.5, None, NAN, INF)] == ["50.0\u00a0%", "–", "–", "–"] and percent(0.123, 0) == "12\u00a0%"
    assert (arrow(0.5, 0.25), arrow(0.5, None), arrow(None, None)) == ("50.0\u00a0% → 25.0\u00a0%", "50.0\u00a0%", "–")


def test_numbers() -> None:
    assert [number(v) for v in (7, 1234, 0.12345, -4.1, 1234.6, None, NAN)] == ["7", "1,234", "0.123", "−4.1", "1,235", "–", "–"]
    assert (count(1, "image"), count(1200, "image"), count(0, "image")) == ("1 image", "1,200 images", "0 images")
    assert (p_value(0.0123), p_value(1e-9), p_value(0.5)) == ("p = 0.012", "p < 0.001", "p = 0.5")
