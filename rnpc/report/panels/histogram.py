"""How often which value occurs, one set a name, stacked; on a logarithmic axis where a few values stand against many."""

from __future__ import annotations

from typing import Any

import numpy as np
from markupsafe import Markup
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from rnpc.panel import Histogram
from rnpc.report.panels.absent import absent
from rnpc.report.svg import BLUE, GREEN, HALF, INK, ORANGE, PINK, WIDTH, render, short, text

COLOURS = ("#c3ccd5", ORANGE, BLUE, GREEN, PINK)
BINS = 30
MANY = 60
"""A bin with more makes the axis logarithmic."""


def draw(panel: Histogram, name: str) -> Markup:
    """The figure, or a line where no value is finite."""
    sets = {key: finite(values) for key, values in panel.values.items()}
    everything = np.concatenate([*sets.values(), np.zeros(0)])
    if not len(everything):
        return absent("No value was measured.")
    edges = edges_of(everything)
    width = HALF if panel.narrow else WIDTH

    def paint(figure: Figure) -> None:
        ax = figure.subplots()
        style: dict[str, Any] = {
            "color": [COLOURS[i % len(COLOURS)] for i in range(len(sets))],
            "label": [text(key) for key in sets],
            "linewidth": 0,
        }
        heights = ax.hist(list(sets.values()), bins=list(edges), stacked=True, **style)[0]
        if np.max(heights) > MANY:
            ax.set_yscale("log")
            ax.set_ylim(bottom=0.7)
        else:
            ax.yaxis.set_major_locator(MaxNLocator(5, integer=True))
        if panel.threshold is not None and np.isfinite(panel.threshold):
            words = f"threshold: {short(panel.threshold)}"
            ax.axvline(panel.threshold, color=INK, linewidth=0.9, linestyle=(0, (4, 3)), label=words)
        ax.set_xlabel(text(panel.x_name, 80))
        ax.set_ylabel("count")
        ax.grid(axis="x", visible=False)
        handles, labels = ax.get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside upper right", ncols=len(labels) if sum(map(len, labels)) < 12 * width else 1)

    return render(name, f"{panel.title}: histogram of {panel.x_name}", (width, 2.5 if panel.narrow else 2.3), paint)


def finite(values: np.ndarray) -> np.ndarray:
    """The finite values, flat."""
    flat = np.asarray(values, float).ravel()
    known: np.ndarray = flat[np.isfinite(flat)]
    return known


def edges_of(values: np.ndarray) -> np.ndarray:
    """Edges of equal bins over all values; a single value gets a bin around it."""
    low, high = float(values.min()), float(values.max())
    room = 0.0 if high > low else max(abs(low), 1.0) / 2
    return np.linspace(low - room, high + room, BINS + 1)
