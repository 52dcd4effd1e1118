"""QuantizeLinear and DequantizeLinear on activations: entry by entry, with one scale for all or one for each channel.

A constant c becomes the number that it is rounded to, clip(round(c / scale) + zero point), with the division in float32 as runtimes do
it and ties to even. Scales and zero points along the channel axis follow the channels.

Not covered: scales in blocks, computed scales, types below eight bits and float8.
"""

from __future__ import annotations

import numpy as np

from rnpc.passes.facts.channels.arithmetic import uniform
from rnpc.passes.facts.channels.base import RULES, Channels, Step, Stop

INTEGERS = tuple(np.dtype(kind) for kind in ("int8", "uint8", "int16", "uint16", "int32"))


@RULES.register("QuantizeLinear", 10, 25)
def quantize(step: Step) -> None:
    """To integers."""
    known = step.channels(0)
    if known is None:
        return
    scale, zero, kind = sides(step, known)
    low, high = (np.iinfo(kind).min, np.iinfo(kind).max)
    with np.errstate(all="ignore"):
        steps = np.rint(known.constant.astype(np.float32) / scale.astype(np.float32)).astype(np.float64)
    step.straight(0, known)
    step.put(known.axis, known.ids, np.clip(steps + zero, low, high))


@RULES.register("DequantizeLinear", 10, 25)
def dequantize(step: Step) -> None:
    """To floats."""
    known = step.channels(0)
    if known is None:
        return
    scale, zero, _ = sides(step, known)
    step.straight(0, known)
    step.put(known.axis, known.ids, (known.constant - zero) * scale)


def sides(step: Step, known: Channels) -> tuple[np.ndarray, np.ndarray, np.dtype]:
    """Scale and zero point for each channel (nan where they differ within one), and the integer type."""
    if step.attr("block_size", 0):
        raise Stop("it has a scale for each block")
    scale, zero = side(step, 1, known), side(step, 2, known) if step.has(2) else np.zeros(known.count)
    kind = step.need(2, "the zero point").array.dtype if step.has(2) else np.dtype(np.uint8)
    if kind not in INTEGERS or step.attr("output_dtype", 0):
        raise Stop(f"its type is {kind}")
    return scale, zero, kind


def side(step: Step, slot: int, known: Channels) -> np.ndarray:
    """A stored scale or zero point for each channel; cut where it has one for each."""
    operand = step.need(slot, "a scale or zero point")
    axis = step.attr("axis", 1) % max(len(step.shape(0)), 1)
    array = np.asarray(operand.array, dtype=np.float64)
    if array.size == 1:
        return np.broadcast_to(array.reshape(-1), (known.count,))
    if array.ndim != 1:
        raise Stop("it has a scale for each block")
    if axis != known.axis:
        return uniform(array.reshape(1, -1), 0, known.count)
    if array.size != known.count:
        raise Stop("the scales do not fit the channels")
    step.cut(operand, 0, known.ids)
    return array
