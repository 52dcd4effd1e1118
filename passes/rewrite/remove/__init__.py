"""Take silenced channels out of the user's graph, as far as the outputs stay what they are with the channels zeroed.

The work starts from what `zero` writes. The channel facts of that file say where a channel has become a constant and which channels go
together; `choose` decides, `graph` rewrites, and what cannot go stays zeroed, with its reason. Edits are structural and go through
protobuf; names, order, metadata and unknown fields of all that stays are kept.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import onnx
from onnx import ModelProto

from rnpc.passes.canonical.inline import Inline
from rnpc.passes.facts.channels import Facts, analyse
from rnpc.passes.facts.sites import find_sites
from rnpc.passes.rewrite.check import check_silence
from rnpc.passes.rewrite.kept import Kept
from rnpc.passes.rewrite.remove.choice import Choice, Wanted, choose
from rnpc.passes.rewrite.remove.graph import check, rewrite
from rnpc.passes.rewrite.zero import write_zeros
from rnpc.plan import Silence

__all__ = ["RemoveResult", "eliminate", "remove"]


@dataclass(frozen=True)
class RemoveResult:
    """The edited file, all edits (those of `zero` first), and the channels that stay zeroed."""

    data: bytes
    edits: list[dict[str, Any]]
    kept: list[Kept] = field(default_factory=list)


def remove(source: bytes, model: ModelProto, silence: Silence) -> RemoveResult:
    """Silence the planned channels and take them out. `source` is the file with its external data inside, `model` its parsed view.

    Same outputs as `zero` up to the order of float sums. Raises InputRefused where the plan does not fit.
    """
    check_silence(find_sites(model), silence)
    zeroed = write_zeros(source, model, silence.sites)
    wanted = {entry.site: entry.channels for entry in silence.sites if entry.channels}
    if not wanted:
        return RemoveResult(source, [])
    opened = Inline().run(onnx.load_from_string(zeroed.data))
    edits, kept = eliminate(opened.model, wanted)
    if not edits:
        return RemoveResult(zeroed.data, zeroed.edits, kept)
    return RemoveResult(opened.model.SerializeToString(deterministic=True), [*zeroed.edits, *opened.edits, *edits], kept)


def eliminate(model: ModelProto, wanted: Wanted) -> tuple[list[dict[str, Any]], list[Kept]]:
    """Take out, in place, those channels of `wanted` (value -> channels) that are constants or unread; the edits, and what stays."""
    facts = analyse(model)
    choice = choose(facts, wanted)
    kept = list(stays(facts, choice, wanted))
    if not choice.gone.any():
        return [], kept
    edits: list[dict[str, Any]] = [
        {"kind": "remove", "site": v, "index": gone} for v, c in wanted.items() if (gone := left_out(facts, choice, v, c))
    ]
    edits += rewrite(model, facts, choice)
    check(model, facts, choice)
    return edits, kept


def left_out(facts: Facts, choice: Choice, value: str, channels: tuple[int, ...]) -> list[int]:
    """Channels of a site that go."""
    ids = facts.values[value].ids if value in facts.values else None
    return [] if ids is None else [c for c in sorted(channels) if choice.gone[facts.roots[ids[c]]]]


def stays(facts: Facts, choice: Choice, wanted: Wanted) -> list[Kept]:
    """Channels that stay, each with its reason."""
    found: list[Kept] = []
    for value, channels in wanted.items():
        known = facts.values.get(value)
        for channel in sorted(channels):
            root = -1 if known is None else int(facts.roots[known.ids[channel]])
            if known is None or not choice.gone[root]:
                reason = choice.why.get(root, "the analysis did not reach it: " + facts.stops.get(facts.view.makers[value], "no rule"))
                found.append((value, channel, reason))
    return found
