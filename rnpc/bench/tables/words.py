"""How numbers of the tables are written in Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rnpc.bench.lines import Line


def counted(rows: Sequence[Line], cells: int) -> str:
    """How much of the SPEC a table holds."""
    failed = sum(each["status"] == "failed" for each in rows)
    return f"{cells} cells in the SPEC: {len(rows) - failed} done, {failed} failed, {cells - len(rows)} not run."


def grid(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Lines of a table."""
    head = [f"| {' | '.join(columns)} |", f"|{' --- |' * len(columns)}"]
    return [*head, *(f"| {' | '.join(each)} |" for each in rows)]


def mean(value: dict[str, Any] | None) -> str:
    """A mean with its interval."""
    return "-" if value is None else percent(value["mean"], value["interval"])


def worst(value: dict[str, Any] | None) -> str:
    """The worst cell with its interval and its victim's number."""
    return "-" if value is None else f"{percent(value['worst']['value'], value['worst']['interval'])} ({value['worst']['number']})"


def part(value: dict[str, Any] | None) -> str:
    """A share with its count and interval."""
    return "-" if value is None else f"{value['hits']} of {value['cells']}: {percent(value['value'], value['interval'])}"


def percent(value: float, interval: Sequence[float]) -> str:
    """A number in percent with its interval."""
    return f"{100 * value:.2f} [{100 * interval[0]:.2f}, {100 * interval[1]:.2f}]"


def rate(value: dict[str, Any] | None) -> str:
    """A rate of one cell in percent with its interval."""
    if value is None:
        return "-"
    low, high = value["interval"]
    return f"{100 * value['value']:.2f} [{100 * low:.1f}, {100 * high:.1f}]"


def tally(counts: dict[str, int]) -> str:
    """Verdicts with their counts."""
    return ", ".join(f"{name} {count}" for name, count in counts.items() if count) or "-"
