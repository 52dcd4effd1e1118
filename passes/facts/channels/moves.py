"""Operators that move channels about: Transpose, Squeeze, Unsqueeze, Concat, Split, Slice, Gather, Pad, Resize, Shape.

A Concat along the channels sets the ids of its inputs side by side, and a Split takes them apart: offsets and sizes follow from what is
kept. A Gather of channels by stored indices permutes ids. Pad puts its value at borders: a channel keeps its constant only where that is
the value, or the border repeats what is there. Resize means or picks neighbours, of which equal ones stay equal (cubic weights may not
sum to one exactly).

Not covered: computed axes, sizes, indices or pads; steps in a Slice of channels; padding of the channels; a Shape that looks at the
channels.
"""

from __future__ import annotations

import numpy as np
from onnx import numpy_helper

from rnpc.passes.facts.channels.base import RULES, Channels, Number, Step, Stop, axis_of
from rnpc.passes.facts.view import attribute, is_op


@RULES.register("Transpose", 1, 25)
def transpose(step: Step) -> None:
    """Axes in another order."""
    known = step.channels(0)
    if known is not None:
        order = list(step.attr("perm") or range(len(step.shape(0)))[::-1])
        step.straight(0, known)
        step.put(order.index(known.axis), known.ids, known.constant)


@RULES.register("Squeeze", 1, 25)
def squeeze(step: Step) -> None:
    """Axes of size one vanish."""
    known = step.channels(0)
    if known is None:
        return
    given = step.whole_numbers(1, "axes")
    shape = step.shape(0)
    axes = {axis_of(step, axis) for axis in given} if given is not None else {a for a, size in enumerate(shape) if size == 1}
    if known.axis in axes:
        raise Stop("it drops the channel axis")
    step.straight(0, known)
    step.put(known.axis - sum(a < known.axis for a in axes), known.ids, known.constant)


@RULES.register("Unsqueeze", 1, 25)
def unsqueeze(step: Step) -> None:
    """New axes of size one."""
    known = step.channels(0)
    if known is None:
        return
    rank = len(step.out_shape())
    axes = {axis % rank for axis in step.whole_numbers(1, "axes") or []}
    step.straight(0, known)
    step.put([a for a in range(rank) if a not in axes][known.axis], known.ids, known.constant)


@RULES.register("Concat", 4, 13)
def concat(step: Step) -> None:
    """Side by side along the channels, or along another axis, where channels go together."""
    slots = range(len(step.node.input))
    tracked = [(slot, known) for slot in slots if (known := step.channels(slot)) is not None]
    if not tracked:
        return
    axis = axis_of(step, step.attr("axis"), tracked[0][0])
    if any(known.axis != tracked[0][1].axis for _, known in tracked):
        raise Stop("the inputs' channel axes do not fall together")
    if tracked[0][1].axis == axis:
        parts = [part(step, slot, axis) for slot in slots]
        step.put(axis, np.concatenate([p.ids for p in parts]), np.concatenate([p.constant for p in parts]))
        offset, total = 0, sum(p.count for p in parts)
        for slot, piece in enumerate(parts):
            target = np.full(total, -1)
            target[offset : offset + piece.count] = np.arange(piece.count)
            step.flow(slot, np.arange(piece.count), target)
            offset += piece.count
        return
    together(step, tracked[0][1])


def part(step: Step, slot: int, axis: int) -> Channels:
    """An input of a Concat along the channels; one that is not tracked keeps all that it has."""
    known = step.channels(slot)
    if known is not None:
        return known
    operand = step.operand(slot)
    count = operand.shape[axis] if operand is not None else step.shape(slot)[axis]
    ids = step.fresh(count)
    step.pin(ids, f"{step.node.input[slot]} is not tracked")
    return Channels(axis, ids, np.full(count, np.nan))


def together(step: Step, first: Channels) -> None:
    """A Concat along another axis: a channel goes in all inputs or in none."""
    constant = first.constant
    for slot in range(len(step.node.input)):
        known, operand = step.channels(slot), step.operand(slot)
        if known is not None:
            step.unite(known.ids, first.ids)
            step.straight(slot, known)
            constant = np.where(constant == known.constant, constant, np.nan)
        elif operand is not None and operand.shape[first.axis] == first.count:
            step.cut(operand, first.axis, first.ids)
            constant = np.full(first.count, np.nan)
        else:
            raise Stop(f"{step.node.input[slot]} is not tracked")
    step.put(first.axis, first.ids, constant)


@RULES.register("Split", 2, 18)
def split(step: Step) -> None:
    """Apart along the channels, or along another axis."""
    known = step.channels(0)
    if known is None:
        return
    axis, ends = axis_of(step, step.attr("axis", 0)), 0
    outputs = range(len(step.node.output))
    if axis != known.axis:
        for output in outputs:
            step.flow(0, np.arange(known.count), np.arange(known.count), output)
            step.put(known.axis, known.ids, known.constant, output)
        return
    if step.has(1) and (step.operand(1) is None or step.need(1, "the sizes").chain):
        raise Stop("its sizes are computed")
    parts = []
    for output in outputs:
        start, ends = ends, ends + step.out_shape(output)[axis]
        parts.append(known.ids[start:ends])
        source = np.full(known.count, -1)
        source[start:ends] = np.arange(ends - start)
        step.flow(0, source, np.arange(ends - start), output)
        step.put(axis, known.ids[start:ends], known.constant[start:ends], output)
    if ends != known.count:
        raise Stop("its sizes do not add up")
    step.found.splits.append((step.k, tuple(parts)))


@RULES.register("Slice", 10, 13)
def cut_out(step: Step) -> None:
    """A range along the channels (its ends are counted anew), or along other axes."""
    known = step.channels(0)
    if known is None:
        return
    shape = step.shape(0)
    starts, ends = (step.whole_numbers(slot, what) or [] for slot, what in ((1, "starts"), (2, "ends")))
    axes = [axis_of(step, a) for a in (step.whole_numbers(3, "axes") if step.has(3) else None) or range(len(starts))]
    steps = (step.whole_numbers(4, "steps") if step.has(4) else None) or [1] * len(starts)
    chosen = np.arange(known.count)
    for index, axis in enumerate(axes):
        if axis != known.axis:
            continue
        if steps[index] != 1:
            raise Stop("it takes channels in steps")
        start, end = (max(0, min(v + shape[axis] if v < 0 else v, shape[axis])) for v in (starts[index], ends[index]))
        chosen = chosen[start:end]
        whole = starts[index] == 0, ends[index] >= shape[axis]
        step.found.numbers.extend(
            Number(step.k, known.ids[:stop], slot=slot, index=index, among=known.ids)
            for slot, stop, open_end in ((1, start, whole[0]), (2, end, whole[1]))
            if not open_end
        )
    if not len(chosen):
        raise Stop("it takes no channel")
    source = np.full(known.count, -1)
    source[chosen] = np.arange(len(chosen))
    step.flow(0, source, np.arange(len(chosen)))
    step.put(known.axis, known.ids[chosen], known.constant[chosen])


@RULES.register("Gather", 1, 13)
def gather(step: Step) -> None:
    """Channels in another order by stored indices, or a position of another axis."""
    known = step.channels(0)
    if known is None:
        return
    axis, indices = axis_of(step, step.attr("axis", 0)), step.operand(1)
    if axis != known.axis:
        rank = indices.array.ndim if indices is not None else len(step.shape(1))
        step.straight(0, known)
        step.put(known.axis + (rank - 1 if axis < known.axis else 0), known.ids, known.constant)
        return
    if indices is None or indices.array.ndim != 1 or indices.chain:
        raise Stop("its indices are no stored list")
    chosen = indices.array.astype(np.int64) % known.count
    if len(set(chosen.tolist())) < len(chosen):
        raise Stop("it takes a channel twice")
    step.cut(indices, 0, known.ids[chosen])
    step.found.gathers.append((step.k, known.ids))
    source = np.full(known.count, -1)
    source[chosen] = np.arange(len(chosen))
    step.flow(0, source, np.arange(len(chosen)))
    step.put(axis, known.ids[chosen], known.constant[chosen])


@RULES.register("Pad", 2, 25)
def pad(step: Step) -> None:
    """A border around other axes than the channels."""
    known = step.channels(0)
    if known is None:
        return
    pads, mode, rank = step.whole_numbers(1, "pads") or [], step.attr("mode", b"constant"), len(step.shape(0))
    axes = [axis_of(step, a) for a in step.whole_numbers(3, "axes") or []] if step.has(3) else list(range(rank))
    around = {axis: (pads[i], pads[i + len(axes)]) for i, axis in enumerate(axes)}
    if any(around.get(known.axis, (0, 0))):
        raise Stop("it pads the channels")
    value = float(step.need(2, "the padding").array.reshape(-1)[0]) if step.has(2) else float(step.attr("value", 0.0))
    keeps = mode != b"constant" or not any(size > 0 for pair in around.values() for size in pair)
    step.straight(0, known)
    step.put(known.axis, known.ids, known.constant if keeps else np.where(known.constant == value, value, np.nan))


@RULES.register("Upsample", 7, 9)
@RULES.register("Resize", 10, 19)
def resize(step: Step) -> None:
    """Other sizes along other axes than the channels; a size stated for the channels is rewritten."""
    known = step.channels(0)
    if known is None:
        return
    if step.attr("coordinate_transformation_mode", b"") == b"tf_crop_and_resize" or step.attr("axes") is not None:
        raise Stop("it crops, or resizes chosen axes")
    if step.out_shape()[known.axis] != known.count:
        raise Stop("it resizes the channels")
    if step.has(3):
        if step.need(3, "the sizes").chain:
            raise Stop("its sizes are computed")
        step.found.numbers.append(Number(step.k, known.ids, slot=3, index=known.axis))
    cubic = step.attr("mode", b"nearest") == b"cubic"
    step.straight(0, known)
    step.put(known.axis, known.ids, np.where(known.constant == 0, 0.0, np.nan) if cubic else known.constant)


@RULES.register("Shape", 1, 25)
def look(step: Step) -> None:
    """The sizes: channels stay, unless all readers pick the size of another axis."""
    known = step.channels(0)
    if known is None:
        return
    rank = len(step.shape(0))
    start, end = (a + rank if a < 0 else a for a in (step.attr("start", 0), step.attr("end", rank)))
    if start <= known.axis < end and not all(
        elsewhere(step, k, slot, known.axis - start) for k, slot in step.view.readers[step.node.output[0]]
    ):
        raise Stop("the number of channels is computed with")
    if step.node.output[0] in step.view.outputs or step.node.output[0] in step.view.captured:
        raise Stop("the number of channels is an output")
    step.flow(0, np.full(known.count, -1), np.zeros(0, dtype=np.int64))


def elsewhere(step: Step, k: int, slot: int, index: int) -> bool:
    """Whether a reader of the sizes picks others than that of the channels: a Gather or Slice with stored indices."""
    node = step.view.nodes[k]
    stored = [step.view.tensor(name) for name in node.input[1:] if name]
    if slot != 0 or any(tensor is None for tensor in stored) or not is_op(node, "Gather", "Slice"):
        return False
    numbers = [np.asarray(numpy_helper.to_array(tensor)).reshape(-1) for tensor in stored if tensor is not None]
    if node.op_type == "Gather":
        return attribute(node, "axis", 0) == 0 and bool((numbers[0] >= 0).all()) and index not in numbers[0]
    forward = len(numbers) < 4 or bool((numbers[3] == 1).all())
    start, end = int(numbers[0][0]), int(numbers[1][0])
    return forward and start >= 0 and end >= 0 and not start <= index < end
