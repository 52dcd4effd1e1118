"""matplotlib figures as inline SVG whose bytes depend on the figure alone: fixed salt, no dates, no user settings.

Text stays text (small, searchable, sharp on paper) and takes the page's font. Several figures share one page, so every id gets the
figure's name as a prefix.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable

import matplotlib.style
from matplotlib.figure import Figure

INK, MUTED, RULE, PAPER = "#1f2933", "#616e7c", "#d5dbe1", "#ffffff"
# Okabe and Ito's palette (2008): told apart with every common colour blindness, and by lightness in grey print.
BLUE, ORANGE, GREEN, PINK, SKY = "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9"

STYLE: dict[str, object] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "rnpc",
    "font.family": "DejaVu Sans",
    "font.size": 8.5,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": MUTED,
    "axes.linewidth": 0.7,
    "axes.titlesize": 9,
    "axes.titlelocation": "left",
    "axes.titleweight": "bold",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": RULE,
    "grid.linewidth": 0.5,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "legend.frameon": False,
    "legend.fontsize": 8,
    "lines.linewidth": 1.4,
    "figure.dpi": 72,
}
FONTS = "Inter, 'Helvetica Neue', Arial, 'Liberation Sans', 'DejaVu Sans', sans-serif"


def render(name: str, title: str, size: tuple[float, float], draw: Callable[[Figure], None]) -> str:
    """Run `draw` on an empty figure of `size` inches and return its SVG element; `title` is what a screen reader says."""
    with matplotlib.style.context(["default", STYLE]):
        figure = Figure(figsize=size, layout="constrained", facecolor=PAPER)
        draw(figure)
        file = io.StringIO()
        figure.savefig(file, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    return inline(file.getvalue(), name, title)


def inline(svg: str, name: str, title: str) -> str:
    """The `<svg>` element alone, ids prefixed, with a label and a size that follows the page."""
    svg = svg[svg.index("<svg") :].strip()
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.S)
    svg = re.sub(r'\bid="', f'id="{name}-', svg)
    svg = re.sub(r"url\(#", f"url(#{name}-", svg)
    svg = re.sub(r'href="#', f'href="#{name}-', svg)
    svg = re.sub(r"'DejaVu Sans'(, sans-serif)?", FONTS, svg)
    head = f'<svg class="plot" role="img" aria-label="{escape(title)}"'
    return head + re.sub(r"[ \t]*\n[ \t]*", "\n", svg).removeprefix("<svg")


def escape(text: str) -> str:
    """Text for use inside a double-quoted attribute."""
    return text.replace("&", "&amp;").replace('"', "&quot;").replace("<", "&lt;")
