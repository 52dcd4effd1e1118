"""Curves over one axis: intervals as bands, the chosen x marked, comparisons dashed."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from rnpc.panel import Curve, Line
from rnpc.report.panels.absent import absent
from rnpc.report.svg import BLUE, GREEN, HALF, INK, ORANGE, PINK, SKY, WIDTH, render, short, text

COLOURS, MARKS = (BLUE, PINK, GREEN, INK, SKY), "os^Dv"
GREY = "#b8c2cc"
MOST_TICKS, MOST_GREY, MOST_MARKS = 14, 40, 30


def draw(panel: Curve, name: str) -> Markup:
    """The figure, or a line where no curve has a point."""
    if not any(len(line.x) for line in panel.lines):
        return absent("Nothing was measured along this axis.")
    places = Places(panel)
    width = HALF if panel.narrow else WIDTH

    def paint(figure: Figure) -> None:
        ax = figure.subplots()
        grey_lines(ax, panel, places)
        named_lines(ax, panel, places)
        words, value = panel.level or ("", np.nan)
        if np.isfinite(value):
            ax.axhline(value, color=INK, linewidth=0.9, linestyle=(0, (1, 2)), label=text(f"{words}: {in_unit(panel, value)}"))
        mark(ax, panel, places)
        axes(ax, panel, places)
        legend(figure, ax, width)

    return render(name, f"{panel.title}: {panel.y_name} against {panel.x_name}", (width, 2.5 if panel.narrow else 2.6), paint)


class Places:
    """Where each x stands: at its value, or evenly spaced in the order of all values."""

    def __init__(self, panel: Curve) -> None:
        self.values = np.unique(np.concatenate([np.asarray(line.x, float) for line in panel.lines]))
        self.even = panel.even

    def of(self, x: np.ndarray | float) -> np.ndarray:
        """Positions of values; those between two others lie between them."""
        x = np.asarray(x, float)
        return np.interp(x, self.values, np.arange(len(self.values))) if self.even else x


def grey_lines(ax: Axes, panel: Curve, places: Places) -> None:
    """Lines without a name, the highest of them; with a thousand classes the others lie on the axis."""
    found = [line for line in panel.lines if not line.name and len(line.x)]
    tops = np.array([np.max(finite(line.y), initial=-np.inf, where=np.isfinite(line.y)) for line in found])
    for i in np.argsort(-tops, kind="stable")[:MOST_GREY]:
        ax.plot(places.of(found[i].x), finite(found[i].y), color=GREY, linewidth=0.7)


def named_lines(ax: Axes, panel: Curve, places: Places) -> None:
    """Lines with a name, each with its band; a dashed one in the colour of the solid line before it, if there is one."""
    turn, follows = 0, False
    for line in panel.lines:
        if not line.name:
            continue
        x = places.of(line.x)
        if line.dashed:
            turn += not follows
            colour = COLOURS[(turn - 1) % len(COLOURS)]
            ax.plot(x, finite(line.y), color=colour, linewidth=1.0, linestyle=(0, (4, 3)), label=text(line.name))
            follows = False
            continue
        colour, follows = COLOURS[turn % len(COLOURS)], True
        if line.low is not None and line.high is not None:
            ax.fill_between(x, finite(line.low), finite(line.high), color=colour, alpha=0.14, linewidth=0)
        dots = MARKS[turn % len(MARKS)] if len(x) <= MOST_MARKS else ""
        ax.plot(x, finite(line.y), color=colour, marker=dots, markersize=3.5, label=text(line.name))
        turn += 1


def mark(ax: Axes, panel: Curve, places: Places) -> None:
    """A band behind the chosen x and a diamond on the first curve there."""
    if panel.marked is None or not np.isfinite(panel.marked):
        return
    x = float(places.of(panel.marked))
    room = len(places.values) - 1 if panel.even else float(np.ptp(places.values))
    half = 0.28 if panel.even else 0.006 * (room or 1.0)
    ax.axvspan(x - half, x + half, color=ORANGE, alpha=0.12, linewidth=0)
    first = next((line for line in panel.lines if line.name and not line.dashed), None)
    here = [] if first is None else list(np.flatnonzero(np.asarray(first.x, float) == panel.marked))
    label = f"chosen: {short(panel.marked)}"
    if first is not None and here and np.isfinite(first.y[here[0]]):
        ax.plot([x], [float(first.y[here[0]])], "D", color=ORANGE, markersize=6, zorder=5, label=label)
    else:
        ax.axvline(x, color=ORANGE, linewidth=1.2, label=label)


def axes(ax: Axes, panel: Curve, places: Places) -> None:
    """Names, units and limits. Shares that move much are shown from 0 to 100 %, others where they happen."""
    ax.set_xlabel(text(panel.x_name, 80))
    ax.set_ylabel(text(panel.y_name, 40))
    if panel.y_unit == "share":
        ax.yaxis.set_major_formatter(PercentFormatter(1, symbol="\u00a0%"))
        if spread(panel.lines) > 0.5:
            ax.set_ylim(-0.04, 1.04)
            ax.set_yticks([0, 0.25, 0.5, 0.75, 1])
    if not panel.even:
        ax.xaxis.set_major_locator(MaxNLocator(6 if panel.narrow else 10, integer=bool(np.all(places.values % 1 == 0))))
        return
    step = -(-len(places.values) // (MOST_TICKS // 2 if panel.narrow else MOST_TICKS))
    ticks = range(0, len(places.values), step)
    ax.set_xticks(list(ticks), [short(float(places.values[i])) for i in ticks])
    ax.set_xlim(-0.5, len(places.values) - 0.5)


def spread(lines: Sequence[Line]) -> float:
    """Largest less smallest finite y."""
    values = np.concatenate([np.asarray(line.y, float) for line in lines])
    values = values[np.isfinite(values)]
    return float(np.ptp(values)) if len(values) else 0.0


def legend(figure: Figure, ax: Axes, width: float) -> None:
    """Above the axes, in as many columns as the words leave room for."""
    handles, labels = ax.get_legend_handles_labels()
    if labels:
        widest = 0.42 + 0.062 * max(len(label) for label in labels)
        columns = max(1, min(len(labels), int(width / widest)))
        figure.legend(handles, labels, loc="outside upper right", ncols=columns, columnspacing=1.1, handlelength=1.6, borderaxespad=0.2)


def in_unit(panel: Curve, value: float) -> str:
    """A y value with its unit."""
    return f"{100 * value:.1f}\u00a0%" if panel.y_unit == "share" else short(value)


def finite(values: np.ndarray) -> np.ndarray:
    """Floats with nan for what is not finite, which leaves a gap."""
    values = np.asarray(values, float)
    return np.where(np.isfinite(values), values, np.nan)
