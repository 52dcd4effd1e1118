"""Lines of text as a list."""

from __future__ import annotations

from markupsafe import Markup

from rnpc.panel import Words
from rnpc.report.panels.absent import absent


def draw(panel: Words) -> Markup:
    """A list, one entry a line."""
    if not panel.lines:
        return absent("Nothing was noted.")
    return Markup("<ul>{}</ul>").format(Markup("").join(Markup("<li>{}</li>").format(line) for line in panel.lines))
