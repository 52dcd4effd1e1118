"""Numbers as a reader wants them: shares in percent, three significant digits, a dash for what was not measured."""

from __future__ import annotations

import math

DASH = "–"


def percent(value: float | None, digits: int = 1) -> str:
    """A share in [0, 1] as a percentage with a space that does not break; a dash where it is unknown."""
    return DASH if value is None or not math.isfinite(value) else f"{100 * value:.{digits}f}\u00a0%"


def number(value: float | None) -> str:
    """Integers whole, floats to three significant digits, a dash for none."""
    if value is None or not math.isfinite(value):
        return DASH
    text = f"{value:,.0f}" if isinstance(value, int) or abs(value) >= 1000 else f"{float(value):.3g}"
    return text.replace("-", "−")


def count(many: int, noun: str) -> str:
    """`1 channel`, `2 channels`."""
    return f"{many:,} {noun}" + ("" if many == 1 else "s")


def p_value(value: float) -> str:
    """`p = 0.02`, or `p < 0.001`."""
    return "p < 0.001" if value < 0.001 else f"p = {value:.2g}"


def arrow(before: float | None, after: float | None) -> str:
    """`97.0 % → 96.8 %`, one number where there is only one."""
    return " → ".join(percent(value) for value in (before, after) if value is not None) or DASH
