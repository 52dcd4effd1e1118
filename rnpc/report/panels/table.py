"""A table: the first rows, and behind them those that stand out. Numbers are right-aligned and carry their unit."""

from __future__ import annotations

from collections.abc import Sequence

from markupsafe import Markup

from rnpc.panel import Cell, Table, Unit
from rnpc.report.numbers import DASH, number, percent
from rnpc.report.panels.absent import absent

MOST = 12
"""Rows shown, and at most as many again of those that stand out."""


def draw(panel: Table) -> Markup:
    """The table, and under it how many rows there are where not all are shown."""
    if not panel.rows:
        return absent("The table has no rows.")
    units = [unit_of(panel, i) for i in range(len(panel.columns))]
    shown = shown_rows(len(panel.rows), panel.accused)
    head = Markup("").join(tag("th", name, unit) for name, unit in zip(panel.columns, units, strict=True))
    rows = Markup("\n").join(row(panel.rows[i], units, i in panel.accused) for i in shown)
    grid = Markup('<table class="numbers">\n<thead><tr>{}</tr></thead>\n<tbody>\n{}\n</tbody>\n</table>').format(head, rows)
    return grid + rest(len(panel.rows), len(shown))


def shown_rows(count: int, accused: Sequence[int]) -> list[int]:
    """Indices of the rows on the page; an accused row is not dropped for standing late."""
    late = sorted(i for i in set(accused) if MOST <= i < count)
    return [*range(min(count, MOST)), *late[:MOST]]


def rest(count: int, shown: int) -> Markup:
    """How many rows there are, where not all are shown."""
    if shown == count:
        return Markup("")
    extra = f" and {shown - MOST} that stand{'s' if shown == MOST + 1 else ''} out" if shown > MOST else ""
    line = Markup('<p class="caption">The first {} of {} rows{}; all are in <code>report.json</code>.</p>')
    return line.format(MOST, f"{count:,}", extra)


def unit_of(panel: Table, column: int) -> Unit:
    """A column's unit as stated, else by what its cells are."""
    if column < len(panel.units):
        return panel.units[column]
    return "text" if any(isinstance(cells[column], str) for cells in panel.rows) else "number"


def row(cells: Sequence[Cell], units: Sequence[Unit], accused: bool) -> Markup:
    """One row; an accused one is marked by colour, weight and, for those who see neither, by a sign."""
    inner = Markup("").join(tag("td", shown(cell, unit), unit) for cell, unit in zip(cells, units, strict=True))
    return Markup('<tr class="accused">{}</tr>' if accused else "<tr>{}</tr>").format(inner)


def tag(name: str, content: str, unit: Unit) -> Markup:
    """A cell or a head."""
    kind = Markup("") if unit == "text" else Markup(' class="n"')
    return Markup("<{0}{1}>{2}</{0}>").format(Markup(name), kind, content)


def shown(cell: Cell, unit: Unit) -> str:
    """A cell in its column's unit; a dash for none."""
    if cell is None:
        return DASH
    if isinstance(cell, str):
        return cell
    if isinstance(cell, bool):
        return "yes" if cell else "no"
    if unit == "share":
        return percent(cell)
    return number(cell) if unit == "number" else str(cell)
