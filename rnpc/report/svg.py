"""matplotlib figures as inline SVG whose bytes depend on the figure alone: fixed salt, no dates, no user settings.

Text stays text (small, searchable, sharp on paper) and takes the page's font. Several figures share one page, so every id gets the
figure's name as a prefix.
"""

from __future__ import annotations

import io
import re
import unicodedata
import warnings
from collections.abc import Callable

import matplotlib.style
from markupsafe import Markup, escape
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


UNSEEN = {"Cc", "Cf", "Cs", "Zl", "Zp"}
"""Categories of characters that control a text rather than stand in it."""
WIDTH, HALF = 7.1, 3.42
"""Inches: the page's column, and half of it less the gap."""


def render(name: str, title: str, size: tuple[float, float], draw: Callable[[Figure], None]) -> Markup:
    """Run `draw` on an empty figure of `size` inches and return its SVG element; `title` is what a screen reader says."""
    with matplotlib.style.context(["default", STYLE]), warnings.catch_warnings():
        # Text stays text: the reader's fonts have what matplotlib's own lacks.
        warnings.filterwarnings("ignore", message=".*[Gg]lyph")
        figure = Figure(figsize=size, layout="constrained", facecolor=PAPER)
        draw(figure)
        file = io.StringIO()
        figure.savefig(file, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    return inline(file.getvalue(), name, title)


def inline(svg: str, name: str, title: str) -> Markup:
    """The `<svg>` element alone, ids prefixed, with a label and a size that follows the page."""
    svg = svg[svg.index("<svg") :].strip()
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.S)
    svg = re.sub(r'\bid="', f'id="{name}-', svg)
    svg = re.sub(r"url\(#", f"url(#{name}-", svg)
    svg = re.sub(r'href="#', f'href="#{name}-', svg)
    svg = re.sub(r"'DejaVu Sans'(, sans-serif)?", FONTS, svg)
    svg = re.sub(r"[ \t]*\n[ \t]*", "\n", svg).removeprefix("<svg")
    return Markup(f'<svg class="plot" role="img" aria-label="{escape(title)}"{svg}')


def text(words: str, length: int = 40) -> str:
    """Words for a figure: the end of a long name, which is what tells layers apart; nothing that would start math or break a line."""
    words = "".join(" " if unicodedata.category(c) in UNSEEN else c for c in words)
    words = words if len(words) <= length else "…" + words[1 - length :]
    return words.replace("$", r"\$")


def short(value: float | None) -> str:
    """A number for a tick or a legend in three significant digits, empty where there is none."""
    return "" if value is None or value != value or abs(value) == float("inf") else f"{value:.3g}"
