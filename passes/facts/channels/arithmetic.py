"""Operators of two or more inputs, entry by entry with broadcasting: Add, Sub, Mul, Div, Pow, Max, Min, Sum, Mean, PRelu.

Axes are aligned from the right. Inputs that are tracked along the same axis of the output go together, channel by channel: a channel of
a sum goes only where all that is added goes. A stored tensor with an entry for each channel is cut along. An input with one entry for
all channels is left alone. A constant follows where each input's channel is a constant; zero times anything is zero.

Not covered: inputs whose channel axes do not fall together, a computed input of unknown shape, or one with an entry for each
channel that is not tracked itself.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import reduce

import numpy as np

from rnpc.passes.facts.channels.base import RULES, Rule, Step, Stop

Combine = Callable[[Sequence[np.ndarray]], np.ndarray]


def combining(combine: Combine) -> Rule:
    """The rule of an operator whose constants are combined so."""

    def rule(step: Step) -> None:
        place = axis_and_ids(step)
        if place is None:
            return
        axis, ids = place
        values = [aligned(step, slot, axis, ids) for slot in range(len(step.node.input))]
        with np.errstate(all="ignore"):
            constant = combine(values)
        silent = [stored_zero(step, slot, values[slot]) for slot in range(len(values))]
        for slot in range(len(values)):
            known = step.channels(slot)
            if known is not None and known.count == len(ids):
                others = [s for i, s in enumerate(silent) if i != slot]
                step.straight(slot, known, ~reduce(np.logical_or, others, np.zeros(len(ids), bool)))
        step.put(axis, ids, constant)

    return rule


def axis_and_ids(step: Step) -> tuple[int, np.ndarray] | None:
    """The output's channel axis, and the ids of the first input that has it whole; None where nothing is tracked."""
    out, found = len(step.out_shape()), list[tuple[int, np.ndarray]]()
    for slot in range(len(step.node.input)):
        known = step.channels(slot)
        if known is not None:
            axis = known.axis + out - len(step.shape(slot))
            if known.count == step.out_shape()[axis]:
                found.append((axis, known.ids))
    if not found and any(step.channels(slot) is not None for slot in range(len(step.node.input))):
        raise Stop("one channel is spread over many")
    if any(axis != found[0][0] for axis, _ in found):
        raise Stop("the inputs' channel axes do not fall together")
    return found[0] if found else None


def aligned(step: Step, slot: int, axis: int, ids: np.ndarray) -> np.ndarray:
    """Constants of an input for each channel of the output (nan where anything); unites or cuts what has an entry for each."""
    count, known = len(ids), step.channels(slot)
    own = axis - len(step.out_shape()) + step.rank(slot)
    if known is not None and known.count == count and known.axis == own:
        step.unite(known.ids, ids)
        return known.constant
    operand = step.operand(slot)
    if operand is not None:
        if own >= 0 and operand.shape[own] == count and count > 1:
            step.cut(operand, own, ids)
        return uniform(np.asarray(operand.array, dtype=np.float64), own, count)
    if own < 0 or step.shape(slot)[own] == 1:
        return np.full(count, np.nan)
    raise Stop(f"{step.node.input[slot]} has an entry for each channel and is not tracked")


def uniform(array: np.ndarray, axis: int, count: int) -> np.ndarray:
    """For each channel the number that all its entries are, nan where they differ."""
    rows = np.moveaxis(array, axis, 0).reshape(array.shape[axis], -1) if axis >= 0 else array.reshape(1, -1)
    same = np.where((rows == rows[:, :1]).all(axis=1), rows[:, 0], np.nan)
    return np.asarray(np.broadcast_to(same, (count,)))


def stored_zero(step: Step, slot: int, values: np.ndarray) -> np.ndarray:
    """Channels that a stored factor of zero silences, whatever the other factor is."""
    factor = step.node.op_type == "Mul" and step.operand(slot) is not None
    return np.asarray((values == 0) & factor)


def product(values: Sequence[np.ndarray]) -> np.ndarray:
    """Zero times anything is zero."""
    one, two = values
    return np.where((one == 0) | (two == 0), 0.0, one * two)


def prelu(values: Sequence[np.ndarray]) -> np.ndarray:
    """x, or slope times x below zero; the slope does not matter from zero on."""
    x, slope = values
    return np.where(x >= 0, x, x * slope)


def total(values: Sequence[np.ndarray]) -> np.ndarray:
    """The sum."""
    return np.asarray(reduce(np.add, values))


COMBINES: dict[str, tuple[int, int, Combine]] = {
    "Add": (7, 14, total),
    "Sub": (7, 14, lambda v: v[0] - v[1]),
    "Mul": (7, 14, product),
    "Div": (7, 14, lambda v: v[0] / v[1]),
    "Pow": (7, 15, lambda v: np.power(v[0], v[1])),
    "PRelu": (7, 16, prelu),
    "Sum": (8, 13, total),
    "Mean": (8, 13, lambda v: total(v) / len(v)),
    "Max": (8, 13, lambda v: np.asarray(reduce(np.maximum, v))),
    "Min": (8, 13, lambda v: np.asarray(reduce(np.minimum, v))),
}
for op_type, (first, last, combine) in COMBINES.items():
    RULES.register(op_type, first, last)(combining(combine))
