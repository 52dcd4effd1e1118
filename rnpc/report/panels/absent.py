"""What stands where a panel has no data."""

from __future__ import annotations

from markupsafe import Markup


def absent(why: str) -> Markup:
    """A line in place of a figure."""
    return Markup('<p class="absent">{}</p>').format(why)
