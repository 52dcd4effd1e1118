"""What became of the file, as panels and as lines for a terminal: channels that stay, zeroed, although they were to be removed, and the
optimised copy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rnpc.panel import Table
from rnpc.passes.rewrite.kept import Kept, by_reason


def kept_panels(kept: Sequence[Kept]) -> tuple[Table, ...]:
    """A row for each reason and site, with all its channels; no panel where every channel went."""
    if not kept:
        return ()
    rows = tuple(
        (site, len(channels), ", ".join(map(str, channels)), why)
        for why, sites in by_reason(kept).items()
        for site, channels in sites.items()
    )
    caption = "These channels were to be removed. Taking them out would change more than the order of sums, so they are zeroed instead."
    columns = ("layer", "channels", "which", "why they stay")
    return (Table("Channels that stay, zeroed", columns, rows, caption, units=("text", "number", "text", "text")),)


def optimised_panels(entry: Mapping[str, Any] | None) -> tuple[Table, ...]:
    """A panel for the document's `optimised`; none where there was nothing to be made."""
    if entry is None:
        return ()
    title, columns = "The optimised copy, which rnpc verify does not cover", ("what", "value")
    if entry["why"] is not None:
        return (Table(title, columns, (("not written", str(entry["why"])),)),)
    rows = (
        ("file", str(entry["path"])),
        ("SHA-256", str(entry["sha256"])),
        ("made by", str(entry["by"])),
        ("nodes", f"{entry['nodes_before']} before, {entry['nodes_after']} after"),
        ("largest difference", parity_words(entry)),
    )
    caption = (
        "BatchNormalization and constants are folded and idle nodes are gone. That it computes the same was measured, not proved edit by"
        " edit: rnpc verify covers the hardened file only."
    )
    return (Table(title, columns, rows, caption),)


def optimised_lines(entry: Mapping[str, Any] | None) -> list[str]:
    """Lines for a terminal. A refusal is told as an error, not here."""
    if entry is None or entry["why"] is not None:
        return []
    return [
        f"{entry['path']}: {entry['nodes_before']} nodes, now {entry['nodes_after']}; differs by {parity_words(entry)}",
        f"sha256 {entry['sha256']}",
        "rnpc verify does not cover this copy: its proof is the parity alone",
    ]


def parity_words(entry: Mapping[str, Any]) -> str:
    """The parity in one phrase."""
    return f"{entry['difference']:g} of the outputs' scale at most, on {entry['images']} images (bound {entry['bound']:g})"
