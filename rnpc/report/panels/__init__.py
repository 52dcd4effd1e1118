"""How each kind of panel is drawn: one file a kind, each with `draw(panel, name)`, which returns HTML that is safe to put into the page.

`name` starts every id in it, so that panels can share a page. A panel without data says so, rather than showing an empty frame.
"""

from __future__ import annotations

from dataclasses import dataclass

from markupsafe import Markup

from rnpc.panel import Curve, HeatMap, Histogram, Images, Panel, Table, Words
from rnpc.report.panels import curve, heat_map, histogram, images, table, words

__all__ = ["Drawn", "drawn"]


@dataclass(frozen=True)
class Drawn:
    """A panel as the page shows it; `figure`: whether its body is a picture rather than a table or a list."""

    title: str
    body: Markup
    caption: str
    narrow: bool
    figure: bool


def drawn(panel: Panel, name: str) -> Drawn:
    """Draw one panel. Raises TypeError for what is none."""
    inner = body(panel, name)
    caption = f"{panel.caption} {reading(panel)}".strip()
    narrow = isinstance(panel, Curve | Histogram) and panel.narrow
    return Drawn(panel.title, inner, caption, narrow, not isinstance(panel, Table | Words))


def reading(panel: Panel) -> str:
    """How the drawing itself is to be read, which no method has to say."""
    match panel:
        case Curve() if any(line.low is not None for line in panel.lines):
            return "The shaded band is the 95 % interval."
        case Images() if any(picture.delta is not None for picture in panel.pictures):
            return "Left the image, right what was added to it alone (grey is nothing, contrast stretched)."
        case HeatMap():
            marks = " Orange marks stand over channels that were cut." if any(panel.marked.values()) else ""
            return f"Each row is a layer, each cell a channel. Darker is higher (square-root scale).{marks}"
    return ""


def body(panel: Panel, name: str) -> Markup:
    """The panel's content."""
    match panel:
        case Curve():
            return curve.draw(panel, name)
        case Table():
            return table.draw(panel)
        case Images():
            return images.draw(panel)
        case HeatMap():
            return heat_map.draw(panel, name)
        case Histogram():
            return histogram.draw(panel, name)
        case Words():
            return words.draw(panel)
    raise TypeError(f"a {type(panel).__name__} is no panel")
