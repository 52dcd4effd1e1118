"""Replace byte ranges inside nested messages; only the lengths of the messages around a replaced range change with it.

Structural edits (a cloned tensor, an added bias, inlined external data) are done this way, so that even they leave all other bytes,
unknown fields included, as they were, and do not depend on a protobuf library's version.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rnpc.passes.wire.walk import BYTES, Field, Tensor, block, fields


@dataclass(frozen=True)
class Splice:
    """data[start:end] becomes `new`; `path` are the length-delimited fields around it from the outside in."""

    path: tuple[Field, ...]
    start: int
    end: int
    new: bytes


def rewrite(data: bytes, splices: Sequence[Splice], level: int = 0, start: int = 0, end: int | None = None) -> bytes:
    """Apply splices (disjoint; insertions at one place keep their order) to data[start:end]."""
    items = [(s.start, s.end, s.new) for s in splices if len(s.path) == level]
    for field in dict.fromkeys(s.path[level] for s in splices if len(s.path) > level):
        inner = [s for s in splices if len(s.path) > level and s.path[level] == field]
        items.append((field.key, field.end, block(field.number, rewrite(data, inner, level + 1, field.start, field.end))))
    pieces, at = [], start
    for first, last, new in sorted(items, key=lambda item: item[:2]):
        pieces += [data[at:first], new]
        at = last
    return b"".join([*pieces, data[at : len(data) if end is None else end]])


def set_input(data: bytes, graph: Field, node: Field, slot: int, name: str) -> Splice:
    """Let input `slot` of a node read `name`. Slots between the last input and this one become absent inputs (empty names).

    Two slots behind a node's last input cannot be added in one rewrite, since each counts from the bytes before it.
    """
    inputs = [field for field in fields(data, node.start, node.end) if field.number == 1]
    if slot < len(inputs):
        return Splice((graph, node), inputs[slot].key, inputs[slot].end, block(1, name.encode()))
    at = inputs[-1].end if inputs else node.start
    return Splice((graph, node), at, at, block(1, b"") * (slot - len(inputs)) + block(1, name.encode()))


def append(graph: Field, number: int, payload: bytes) -> Splice:
    """Add a field at the graph's end."""
    return Splice((graph,), graph.end, graph.end, block(number, payload))


def renamed(data: bytes, tensor: Tensor, name: str) -> bytes:
    """A TensorProto's bytes with another name."""
    return without(data, tensor.message, (8,)) + block(8, name.encode())


def with_raw_data(data: bytes, tensor: Tensor, raw: bytes) -> bytes:
    """A TensorProto's bytes with its data held in raw_data instead of wherever it was (number fields, external file)."""
    return without(data, tensor.message, (4, 5, 6, 7, 9, 10, 11, 13, 14)) + block(9, raw)


def without(data: bytes, message: Field, numbers: Sequence[int]) -> bytes:
    """A message's bytes less all fields of the given numbers."""
    assert message.kind == BYTES
    return b"".join(data[f.key : f.end] for f in fields(data, message.start, message.end) if f.number not in numbers)
