"""Pooling and reductions over other axes than the channels.

A maximum or a mean of equal numbers is that number: padding of a MaxPool is never chosen, and an AveragePool that leaves padding out counts
what it sums. With `count_include_pad` the borders see zeros, so only the constant zero stays one. The same holds for sizes rounded
up, where some versions of AveragePool count what lies outside.

Not covered: MaxPool with indices, reductions over the channels, or over computed axes.
"""

from __future__ import annotations

import numpy as np

from rnpc.passes.facts.channels.base import RULES, Step, Stop, axis_of
from rnpc.passes.facts.channels.layers import padded


@RULES.register("MaxPool", 8, 22)
def max_pool(step: Step) -> None:
    """The largest of a window."""
    if len([name for name in step.node.output if name]) > 1:
        raise Stop("its indices are asked for")
    windowed(step, keeps=True)


@RULES.register("AveragePool", 7, 22)
def average_pool(step: Step) -> None:
    """The mean of a window."""
    outside = step.attr("ceil_mode", 0) or (step.attr("count_include_pad", 0) and padded(step, tuple(step.attr("kernel_shape"))))
    windowed(step, keeps=not outside)


@RULES.register("GlobalAveragePool", 1, 22)
@RULES.register("GlobalMaxPool", 1, 22)
def global_pool(step: Step) -> None:
    """One number for each channel."""
    windowed(step, keeps=True)


def windowed(step: Step, keeps: bool) -> None:
    """Channels along axis 1 stay by themselves; `keeps`: constants that are not zero stay too."""
    known = step.channels(0)
    if known is None:
        return
    if known.axis != 1:
        raise Stop("it pools the channels")
    step.straight(0, known)
    step.put(1, known.ids, known.constant if keeps else np.where(known.constant == 0, 0.0, np.nan))


@RULES.register("ReduceMean", 1, 18)
@RULES.register("ReduceMax", 1, 20)
@RULES.register("ReduceMin", 1, 20)
def reduce_same(step: Step) -> None:
    """A mean or an extreme over some axes."""
    reduced(step, keeps=True)


@RULES.register("ReduceSum", 1, 13)
@RULES.register("ReduceL1", 1, 18)
@RULES.register("ReduceL2", 1, 18)
def reduce_sum(step: Step) -> None:
    """A sum over some axes: of zeros it is zero."""
    reduced(step, keeps=False)


def reduced(step: Step, keeps: bool) -> None:
    """The channel axis moves forward by the axes before it that vanish."""
    known = step.channels(0)
    if known is None:
        return
    given = step.whole_numbers(1, "axes")
    if not given:
        if step.attr("noop_with_empty_axes", 0):
            raise Stop("it has no axes")
        raise Stop("it reduces the channels")
    axes = {axis_of(step, axis) for axis in given}
    if known.axis in axes:
        raise Stop("it reduces the channels")
    axis = known.axis - (0 if step.attr("keepdims", 1) else sum(a < known.axis for a in axes))
    step.straight(0, known)
    step.put(axis, known.ids, known.constant if keeps else np.where(known.constant == 0, 0.0, np.nan))
