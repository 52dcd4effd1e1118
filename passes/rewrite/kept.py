"""Channels that were to be removed and stay in the graph, zeroed: which, and why, for whoever reads a result."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

Kept = tuple[str, int, str]
"""Site, channel, and why it stays."""
SHOWN = 12
"""Channels that one line names."""
REASONS = 8
"""Reasons that get a line of their own."""


def listed(kept: Iterable[Kept]) -> list[dict[str, Any]]:
    """Every channel with its reason, for a document."""
    return [{"site": site, "channel": channel, "why": why} for site, channel, why in kept]


def by_reason(kept: Iterable[Kept]) -> dict[str, dict[str, list[int]]]:
    """Reason -> site -> channels; the reason with the most channels first."""
    found: dict[str, dict[str, list[int]]] = {}
    for site, channel, why in kept:
        found.setdefault(why, {}).setdefault(site, []).append(channel)
    return dict(sorted(found.items(), key=lambda entry: -sum(map(len, entry[1].values()))))


def lines(kept: Sequence[Kept]) -> list[str]:
    """One line a reason: how many channels it keeps, and the first of them by name. The rarest reasons are only counted."""
    found, reasons = [], list(by_reason(kept).items())
    for why, sites in reasons[:REASONS]:
        count = sum(map(len, sites.values()))
        named = [(site, channel) for site, channels in sites.items() for channel in channels][:SHOWN]
        parts = [f"{site} {', '.join(str(c) for s, c in named if s == site)}" for site in dict.fromkeys(site for site, _ in named)]
        rest = f"; and {count - SHOWN} more" if count > SHOWN else ""
        stay = "1 channel stays" if count == 1 else f"{count} channels stay"
        found.append(f"{stay}, zeroed: {why} ({'; '.join(parts)}{rest})")
    if more := reasons[REASONS:]:
        left = sum(len(channels) for _, sites in more for channels in sites.values())
        found.append(f"... and {left} more for {len(more)} other reason{'' if len(more) == 1 else 's'} (--format json lists all)")
    return found
