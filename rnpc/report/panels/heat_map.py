"""A heat map: a row for each site, a cell for each channel, darker is higher, a mark over each channel that was cut.

Colour follows the square root of the value above the smallest (or above zero, if nothing is below), since a few channels stand far out.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.image import AxesImage

from rnpc.panel import HeatMap
from rnpc.report.panels.absent import absent
from rnpc.report.svg import ORANGE, WIDTH, render, short, text

COLOURS = LinearSegmentedColormap.from_list("heat", ["#f3f6f9", "#9ec9e2", "#2f7fb5", "#08306b"])
TALLEST = 7.4
"""Inches for all rows: what a page of paper has room for."""


def draw(panel: HeatMap, name: str) -> Markup:
    """The figure, or a line where no site has a channel."""
    rows = {site: np.asarray(values, float).ravel() for site, values in panel.rows.items() if np.size(values)}
    if not rows:
        return absent("No channel has a value.")
    height = min(0.26, TALLEST / len(rows))

    def paint(figure: Figure) -> None:
        grid = figure.add_gridspec(2, 2, height_ratios=[0.07, height * len(rows)], width_ratios=[0.58, 0.42])
        ax = figure.add_subplot(grid[1, :])
        ax.grid(False)
        low, high = limits(rows)
        picture = None
        for y, (site, values) in enumerate(rows.items()):
            picture = cells(ax, y, values, low, high)
            cut = [c for c in panel.marked.get(site, ()) if c < len(values)]
            ax.plot(cut, np.full(len(cut), y - 0.36), "v", color=ORANGE, markersize=min(4.0, height * 15), markeredgewidth=0, clip_on=False)
        axis(ax, list(rows), max(len(v) for v in rows.values()), height)
        assert picture is not None
        scale_bar(figure, figure.add_subplot(grid[0, 1]), picture, (low, high), panel.value_name)

    return render(name, f"{panel.title}: {panel.value_name} by layer and channel", (WIDTH, 1.05 + height * len(rows)), paint)


def limits(rows: Mapping[str, np.ndarray]) -> tuple[float, float]:
    """Bottom and top of the colours: the smallest finite value or zero, and the largest."""
    values = np.concatenate(list(rows.values()))
    values = values[np.isfinite(values)]
    low, high = min(0.0, float(np.min(values, initial=0.0))), float(np.max(values, initial=0.0))
    return (low, high) if high > low else (low, low + 1.0)


def cells(ax: Axes, y: int, values: np.ndarray, low: float, high: float) -> AxesImage:
    """One row of cells; what was not measured is as light as the smallest value, infinity as dark as the largest."""
    known = np.nan_to_num(values, nan=low, posinf=high, neginf=low)
    extent = (-0.5, len(values) - 0.5, y + 0.42, y - 0.24)
    shades = np.clip((known - low) / (high - low), 0, 1)[None, :] ** 0.5
    return ax.imshow(shades, cmap=COLOURS, vmin=0, vmax=1, aspect="auto", extent=extent, interpolation="none")


def axis(ax: Axes, sites: list[str], widest: int, height: float) -> None:
    """Names of sites; of very many, those for which there is room."""
    ax.set_xlim(-1, widest)
    ax.set_ylim(len(sites) - 0.4, -0.7)
    step = max(1, int(np.ceil(0.15 / height)) if height < 0.12 else 1)
    ax.set_yticks(range(0, len(sites), step), [text(s, 26) for s in sites[::step]], fontsize=min(7.5, step * height * 40))
    ax.tick_params(axis="y", length=0)
    ax.spines[["left"]].set_visible(False)
    ax.set_xlabel("channel")


def scale_bar(figure: Figure, cax: Axes, picture: AxesImage, limits: tuple[float, float], what: str) -> None:
    """What the colours mean: a bar above the map, on the right."""
    ticks = np.array([0, 0.1, 0.25, 0.5, 1.0])
    bar = figure.colorbar(picture, cax=cax, orientation="horizontal", ticklocation="top")
    bar.set_ticks(list(ticks**0.5), labels=[short(float(limits[0] + t * (limits[1] - limits[0]))) for t in ticks])
    bar.set_label(text(what))
    bar.outline.set_visible(False)
