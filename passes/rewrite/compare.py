"""Say exactly how two serialized models differ: node by node, attribute by attribute, element by element of each tensor.

Both are walked side by side on the wire, by onnx's own schema, so that what a parser would drop or merge (unknown fields, doubled ones,
another order) shows as well. Things with names (nodes by their first output, tensors, attributes, metadata) are paired by them, others by
their order. Two files that differ in any byte always give at least one difference.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from rnpc.passes.rewrite.compare_tensor import compare_tensors
from rnpc.passes.rewrite.shown import Difference, Part, apart, label, named, scalars
from rnpc.passes.wire import tree

NAMES = {
    "NodeProto": (2,),
    "TensorProto": (8,),
    "AttributeProto": (1,),
    "ValueInfoProto": (1,),
    "StringStringEntryProto": (1,),
    "OperatorSetIdProto": (1,),
    "FunctionProto": (10, 1, 13),
    "TensorAnnotation": (1,),
}
"""Message type -> the fields that name one of its kind."""


def compare(declared: bytes, found: bytes) -> list[Difference]:
    """Differences of two files, in the order of the schema; empty only for equal bytes. Raises WireError for bytes that are no message."""
    if declared == found:
        return []
    one, two = Part(declared, tree.MODEL, 0, len(declared)), Part(found, tree.MODEL, 0, len(found))
    return list(messages(one, two, ())) or [unexplained(one, two, ())]


def messages(one: Part, two: Part, where: tuple[str, ...]) -> Iterator[Difference]:
    """Differences of two messages of one type."""
    if one.data[one.start : one.end] == two.data[two.start : two.end]:
        return
    mine, other = one.numbered(), two.numbered()
    count = 0
    for number in sorted(mine.keys() | other.keys()):
        for difference in field(one.child(mine.get(number, [])), two.child(other.get(number, [])), number, where):
            count += 1
            yield difference
    if not count:
        yield unexplained(one, two, where)


def field(one: list[Part], two: list[Part], number: int, where: tuple[str, ...]) -> Iterator[Difference]:
    """Differences in all occurrences of one field of a message."""
    if [part.whole for part in one] == [part.whole for part in two]:
        return
    sample = (one or two)[0]
    declared = sample.field
    if declared is None:
        yield Difference("unknown field", (*where, f"field {number}"), sizes(one), sizes(two))
    elif any(part.kind is None for part in (*one, *two)):
        yield from values(one, two, declared.name, where)
    else:
        yield from repeated(one, two, declared.name, where)


def sizes(parts: list[Part]) -> str:
    """What there is of a field that nobody knows."""
    return f"{sum(len(part.whole) for part in parts)} bytes" if parts else "none"


def values(one: list[Part], two: list[Part], name: str, where: tuple[str, ...]) -> Iterator[Difference]:
    """Differences of plain values: of the first that is another, where there are several."""
    mine, other = scalars(one), scalars(two)
    kind = "edge" if name in ("input", "output") else "attribute" if any(w.startswith("attribute") for w in where) else "value"
    if mine == other:
        yield Difference(kind, (*where, name), "the same value", "written in another way")
        return
    if max(len(mine), len(other)) <= 1:
        yield Difference(kind, (*where, name), *apart(mine, other))
        return
    at = next((k for k, (a, b) in enumerate(zip(mine, other, strict=False)) if a != b), min(len(mine), len(other)))
    if len(mine) != len(other):
        yield Difference(kind, (*where, name), f"{len(mine)} values", f"{len(other)} values, the first difference at {at}")
    else:
        yield Difference(kind, (*where, f"{name}[{at}]"), *apart(mine[at : at + 1], other[at : at + 1]))


@dataclass(frozen=True)
class Pairs:
    """Messages with the same name on both sides, by their places, and what is left on each side."""

    both: list[tuple[int, int]]
    mine: list[int]
    other: list[int]


def repeated(one: list[Part], two: list[Part], name: str, where: tuple[str, ...]) -> Iterator[Difference]:
    """Differences of messages that are paired by name, or else by order."""
    kind = label(one[0] if one else two[0], name)
    pairs = paired(one, two)
    left = renamed(one, two, pairs)
    for a, b in sorted([*pairs.both, *left]):
        place = (*where, named(one[a], name, a))
        yield from compare_tensors(one[a], two[b], place, messages) if one[a].is_tensor else messages(one[a], two[b], place)
    gone, come = set(pairs.mine) - {a for a, _ in left}, set(pairs.other) - {b for _, b in left}
    yield from (Difference(kind, (*where, named(one[k], name, k)), "present", "missing") for k in sorted(gone))
    yield from (Difference(kind, (*where, named(two[k], name, k)), "absent", "added") for k in sorted(come))
    order = [b for _, b in sorted(pairs.both)]
    moved = next((k for k, (b, c) in enumerate(pairwise(order)) if b > c), None)
    if moved is not None:
        a = sorted(pairs.both)[moved + 1][0]
        yield Difference("order", (*where, named(one[a], name, a)), f"number {a} of its kind", "at another place")


def paired(one: list[Part], two: list[Part]) -> Pairs:
    """Pair by name; the second of one name with the second."""
    places: dict[tuple[str, int], int] = {}
    for k, key in enumerate(keys(two)):
        places[key] = k
    both, mine = [], []
    for k, key in enumerate(keys(one)):
        match = places.pop(key, None)
        if match is None:
            mine.append(k)
        else:
            both.append((k, match))
    return Pairs(both, mine, sorted(places.values()))


def renamed(one: list[Part], two: list[Part], pairs: Pairs) -> list[tuple[int, int]]:
    """Of what is left over, pairs of one sort in their order: rather one thing renamed than two that went and came."""
    waiting: dict[tuple[str, ...], list[int]] = {}
    for k in pairs.other:
        waiting.setdefault(two[k].sort, []).append(k)
    return [(k, waiting[one[k].sort].pop(0)) for k in pairs.mine if waiting.get(one[k].sort)]


def keys(parts: list[Part]) -> Iterator[tuple[str, int]]:
    """A name for each message, with a count where it is not the first of that name."""
    seen: dict[str, int] = {}
    for part in parts:
        numbers = NAMES.get(part.kind.name, ()) if part.kind is not None else ()
        name = "\0".join(part.text(number) for number in numbers)
        seen[name] = seen.get(name, -1) + 1
        yield name, seen[name]


def unexplained(one: Part, two: Part, where: tuple[str, ...]) -> Difference:
    """The same fields and values, in other bytes: another order of fields, or a longer way to write a number."""
    mine, other = (np.frombuffer(part.data, np.uint8)[part.start : part.end] for part in (one, two))
    shorter = min(len(mine), len(other))
    unlike = np.flatnonzero(mine[:shorter] != other[:shorter])
    return Difference("encoding", where, "the same content", f"other bytes from byte {int(unlike[0]) if len(unlike) else shorter} of it")
