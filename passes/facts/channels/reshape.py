"""Reshape and Flatten: which positions of the new shape hold a channel of the old one.

Both shapes number the same entries in row-major order. The axis of size n that spans the products [s, e) of the old shape (s entries
before it, e = s n) meets an axis of the new shape in the common factor [lo, hi); where lo and hi divide as they must, position t of the
old axis and u of the new one belong to the same slice where (t div e/hi) mod hi/lo = (u div e'/hi) mod hi/lo. A slice of both shapes is
the same set of entries, and taking it out leaves the order of the others: that is why a Flatten (C to C H W) and the first Reshape of a
channel shuffle (C to g, C/g) can lose channels. Of several axes the one with the largest common factor is followed.

Not covered: shapes that meet in no such factor, a target that is computed (but for the sizes that a Concat takes from elsewhere).
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

import numpy as np

from rnpc.passes.facts.channels.base import RULES, Channels, Number, Step, Stop, axis_of
from rnpc.passes.facts.channels.operands import find_operand
from rnpc.passes.facts.view import Slot, is_op


@dataclass(frozen=True)
class Slices:
    """The new channel axis, and for each position of the old and of the new axis the slice that it belongs to."""

    axis: int
    old: np.ndarray
    new: np.ndarray


def slices(before: list[int], after: list[int], axis: int) -> Slices | None:
    """Follow an axis through a change of shape; None where it cannot be followed."""
    start, end = prod(before[:axis]), prod(before[: axis + 1])
    best: Slices | None = None
    for new, size in enumerate(after):
        first, last = prod(after[:new]), prod(after[: new + 1])
        low, high = max(start, first), min(end, last)
        if high <= low or high % low or end % high or low % start or last % high or low % first:
            continue
        found = Slices(new, np.arange(end // start) // (end // high) % (high // low), np.arange(size) // (last // high) % (high // low))
        if best is None or found.old.max() > best.old.max():
            best = found
    return best


@RULES.register("Flatten", 1, 25)
def flatten(step: Step) -> None:
    """To two axes."""
    known = step.channels(0)
    if known is not None:
        axis = axis_of(step, step.attr("axis", 1))
        shape = step.shape(0)
        follow(step, known, shape, [prod(shape[:axis]), prod(shape[axis:])])


@RULES.register("Reshape", 5, 25)
def reshape(step: Step) -> None:
    """To a stored shape; the entry of the channels is rewritten."""
    known = step.channels(0)
    if known is None:
        return
    before, after = step.shape(0), step.out_shape()
    axis = follow(step, known, before, after)
    ids = step.made[step.node.output[0]].ids
    place = entry(step, (step.k, 1), axis, len(after))
    if place is None:
        raise Stop("its shape is computed")
    (k, slot), index, value = place
    if value == 0 and not step.attr("allowzero", 0):
        if axis != known.axis or len(ids) != known.count:
            raise Stop("its shape copies a size from another axis")
    elif value != -1:
        step.found.numbers.append(Number(k, ids, slot=slot, index=index))
    if known.axis != axis and known.axis < len(after) and copies(step, known.axis, len(after)):
        raise Stop("its shape copies the size of the channels")


def follow(step: Step, known: Channels, before: list[int], after: list[int]) -> int:
    """Describe the output by its slices; returns the new channel axis."""
    found = slices(before, after, known.axis)
    if found is None:
        raise Stop(f"channels cannot be followed from {before} to {after}")
    count = int(found.old.max()) + 1
    heads = np.zeros(count, dtype=np.int64)
    heads[found.old[::-1]] = known.ids[::-1]
    if count < known.count:
        step.unite(known.ids, heads[found.old])
    firsts = np.zeros(count)
    firsts[found.old[::-1]] = known.constant[::-1]
    same = np.ones(count, dtype=bool)
    np.logical_and.at(same, found.old, known.constant == firsts[found.old])
    step.flow(0, found.old, found.new)
    step.put(found.axis, heads[found.new], np.where(same, firsts, np.nan)[found.new])
    return found.axis


def entry(step: Step, slot: Slot, index: int, count: int) -> tuple[Slot, int, int] | None:
    """Where entry `index` of a vector of sizes is stored: use, index within the tensor, number; None where it is computed."""
    k, position = slot
    name = step.view.nodes[k].input[position]
    operand = find_operand(step.view, slot)
    if operand is not None:
        return (slot, index, int(operand.array.reshape(-1)[index])) if not operand.chain else None
    maker = step.view.maker(name)
    if maker is None or not is_op(maker, "Concat") or step.view.only_reader(name) != k:
        return None
    at, whole = step.view.makers[name], 0
    for piece, source in enumerate(maker.input):
        stored = step.view.tensor(source)
        size = step.sweep.sizes.get(source) if stored is None else list(stored.dims)
        if not size:
            return None
        length = size[0]
        if whole <= index < whole + length:
            return entry(step, (at, piece), index - whole, length)
        whole += length
    return None


def copies(step: Step, index: int, count: int) -> bool:
    """Whether an entry of the target is 0 and so copies the size of the input's axis, or might."""
    place = entry(step, (step.k, 1), index, count)
    return place is not None and place[2] == 0 and not step.attr("allowzero", 0)


@RULES.register("Expand", 8, 13)
def expand(step: Step) -> None:
    """Repeat along axes of size one: the channels keep their size, which the target may state."""
    known = step.channels(0)
    if known is None:
        return
    after = step.out_shape()
    axis = known.axis + len(after) - len(step.shape(0))
    if after[axis] != known.count:
        raise Stop("it repeats the channel")
    count = step.shape(1)[0] if (target := step.operand(1)) is None else target.array.size
    index = axis - (len(after) - count)
    place = entry(step, (step.k, 1), index, count) if index >= 0 else ((0, 0), 0, 1)
    if place is None:
        raise Stop("its shape is computed")
    if place[2] != 1:
        step.found.numbers.append(Number(place[0][0], known.ids, slot=place[0][1], index=place[1]))
    step.straight(0, known)
    step.put(axis, known.ids, known.constant)
