"""Pictures of a table: ASR before and after by victim, and the drop of CA. The same lines give the same bytes."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from rnpc.bench.lines import Line, backdoored, done, short
from rnpc.bench.oracle import MAX_DROP

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

NAMES = ASR, DROP = ("asr.png", "ca_drop.png")
GREY, BLUE, ORANGE = "0.6", "#0072b2", "#d55e00"


def files(name: str, rows: Sequence[Line], cells: int) -> dict[str, bytes]:
    """File name -> PNG; none for a picture that would be empty."""
    good = done(rows)
    pictures = {ASR: ([e for e in good if backdoored(e)], asr_panel), DROP: (good, drop_panel)}
    return {file: draw(name, lines, panel) for file, (lines, panel) in pictures.items() if lines}


def draw(name: str, rows: Sequence[Line], panel: Any) -> bytes:
    """One panel a method, side by side."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    methods = list(dict.fromkeys(e["method"] for e in rows))
    tallest = max(sum(e["method"] == method for e in rows) for method in methods)
    figure = Figure(figsize=(4.2 + 4 * len(methods), 1.4 + 0.21 * tallest), layout="constrained")
    axes = figure.subplots(1, len(methods), squeeze=False)[0]
    for place, (axis, method) in enumerate(zip(axes, methods, strict=True)):
        lines = [e for e in rows if e["method"] == method]
        panel(axis, lines)
        axis.set_title(method, loc="left", fontsize=9)
        axis.set_yticks(range(len(lines)), [label(e) for e in lines] if place == 0 else [""] * len(lines), fontsize=6)
        axis.set_ylim(len(lines) - 0.4, -0.6)
        axis.tick_params(axis="x", labelsize=7)
        axis.grid(axis="x", color="0.9", linewidth=0.6)
        axis.set_axisbelow(True)
        for side in ("top", "right"):
            axis.spines[side].set_visible(False)
    figure.suptitle(name, fontsize=10, x=0.01, ha="left")
    legend(figure, axes[0])
    FigureCanvasAgg(figure)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=150, metadata={"Software": None})
    return buffer.getvalue()


def legend(figure: Figure, axis: Axes) -> None:
    """One legend for all panels, below them."""
    handles, labels = axis.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower left", ncols=4, fontsize=7, frameon=False)


def label(each: Line) -> str:
    """A line's name on the axis."""
    return f"{each['number']} {short(each['victim'], each['target'])} ({each['form']})"


def asr_panel(axis: Axes, rows: Sequence[Line]) -> None:
    """Before and after joined by a line, the interval after, and the oracle's cut."""
    for y, each in enumerate(rows):
        old, new = (100 * each[when]["asr"]["value"] for when in ("before", "after"))
        axis.plot([old, new], [y, y], color="0.8", linewidth=1, zorder=1)
        low, high = (100 * bound for bound in each["after"]["asr"]["interval"])
        axis.plot([low, high], [y, y], color=BLUE, linewidth=2, zorder=2)
    before, after = ([100 * e[when]["asr"]["value"] for e in rows] for when in ("before", "after"))
    axis.scatter(before, range(len(rows)), s=18, facecolors="white", edgecolors=GREY, label="before", zorder=3)
    axis.scatter(after, range(len(rows)), s=18, color=BLUE, label="after", zorder=4)
    best = [(100 * e["oracle"]["asr"]["value"], y) for y, e in enumerate(rows) if e["oracle"] is not None]
    axis.scatter([x for x, _ in best], [y for _, y in best], s=16, marker="x", color=ORANGE, label="oracle's cut", zorder=5)
    axis.set_xlim(-3, 103)
    axis.set_xlabel("ASR, percent", fontsize=8)


def drop_panel(axis: Axes, rows: Sequence[Line]) -> None:
    """A bar each, and the limit."""
    colours = [BLUE if backdoored(e) else GREY for e in rows]
    axis.barh(range(len(rows)), [100 * e["drop"]["value"] for e in rows], color=colours, height=0.7)
    for text, colour in (("backdoored", BLUE), ("clean", GREY)):
        axis.barh([0], [0], color=colour, label=text)
    axis.axvline(0, color="0.3", linewidth=0.7)
    axis.axvline(100 * MAX_DROP, color=ORANGE, linewidth=0.9, linestyle="--", label=f"{100 * MAX_DROP:g} points")
    axis.set_xlabel("drop of CA, points", fontsize=8)
