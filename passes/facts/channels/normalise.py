"""BatchNormalization, InstanceNormalization, GroupNormalization, and those that mix all channels.

- BatchNormalization in evaluation is an affine map for each channel: c becomes scale (c - mean) / sqrt(var + eps) + bias.
- InstanceNormalization: a channel of zeros has mean and variance zero and becomes its bias exactly. Other constants lose their mean by a
  rounding error, which 1 / sqrt(eps) enlarges: they are taken for anything.
- GroupNormalization: the statistics are those of a group, so a group goes as a whole or not at all; a group of zeros becomes its bias.
- LayerNormalization, RMSNormalization, LRN, Softmax over the channels: every channel sees every other, so none may go.

Not covered: training mode, computed parameters, normalisation over a part of the channels.
"""

from __future__ import annotations

import numpy as np

from rnpc.passes.facts.channels.base import RULES, Channels, Number, Step, Stop, axis_of


def parameter(step: Step, slot: int, ids: np.ndarray) -> np.ndarray:
    """A stored vector with an entry for each channel, which follows them (float64)."""
    operand = step.need(slot, "a parameter")
    if operand.shape != (len(ids),):
        raise Stop("a parameter does not fit the channels")
    step.cut(operand, 0, ids)
    return np.asarray(operand.array, dtype=np.float64)


def first_axis(step: Step) -> Channels | None:
    """The input's channels, which have to lie along axis 1."""
    known = step.channels(0)
    if known is not None and known.axis != 1:
        raise Stop("its channel axis is another")
    return known


@RULES.register("BatchNormalization", 7, 15)
def batch_normalization(step: Step) -> None:
    """An affine map for each channel."""
    if step.attr("training_mode", 0) or len([name for name in step.node.output if name]) > 1 or step.attr("spatial", 1) != 1:
        raise Stop("it does not use its stored statistics for each channel")
    known = first_axis(step)
    count = step.need(1, "the scale").array.size
    ids = step.fresh(count) if known is None else known.ids
    scale, bias, mean, var = (parameter(step, slot, ids) for slot in (1, 2, 3, 4))
    given = np.full(count, np.nan) if known is None else known.constant
    with np.errstate(all="ignore"):
        values = scale * ((given - mean) / np.sqrt(var + step.attr("epsilon", 1e-5))) + bias
    if known is None:
        step.pin(ids, "the input of a normalisation is not tracked")
    else:
        step.straight(0, known, scale != 0)
    step.put(1, ids, np.where(scale == 0, bias, values))


@RULES.register("InstanceNormalization", 6, 22)
def instance_normalization(step: Step) -> None:
    """Each channel by its own statistics."""
    known = first_axis(step)
    if known is None:
        return
    scale, bias = (parameter(step, slot, known.ids) for slot in (1, 2))
    step.straight(0, known, scale != 0)
    step.put(1, known.ids, np.where((scale == 0) | (known.constant == 0), bias, np.nan))


@RULES.register("GroupNormalization", 18, 21)
def group_normalization(step: Step) -> None:
    """Each group by its own statistics; scale and bias for each group (version 18) or each channel (21)."""
    known, groups = first_axis(step), step.attr("num_groups")
    if known is None:
        return
    if groups < 1 or known.count % groups:
        raise Stop("its groups do not fit the channels")
    inner = known.ids.reshape(groups, -1)
    each = step.need(1, "the scale").array.size == known.count
    scale, bias = (parameter(step, slot, known.ids if each else inner[:, 0]) for slot in (1, 2))
    spread = 1 if each else known.count // groups
    silent = np.repeat((known.constant.reshape(groups, -1) == 0).all(axis=1), known.count // groups)
    step.unite(inner, np.broadcast_to(inner[:, :1], inner.shape))
    step.found.numbers.append(Number(step.k, inner, name="num_groups"))
    members = np.repeat(np.arange(groups), known.count // groups)
    step.flow(0, members, members)
    step.put(1, known.ids, np.where((np.repeat(scale, spread) == 0) | silent, np.repeat(bias, spread), np.nan))


@RULES.register("LayerNormalization", 17, 17)
@RULES.register("RMSNormalization", 23, 23)
@RULES.register("Softmax", 1, 13)
@RULES.register("LogSoftmax", 1, 13)
def over_axes(step: Step) -> None:
    """Over `axis`, and all behind it but for the newer Softmax: channels along another axis stay by themselves, those along it stay put."""
    known = step.channels(0)
    if known is None:
        return
    default = -1 if step.view.opset >= 13 or "Norm" in step.node.op_type else 1
    axis = axis_of(step, step.attr("axis", default))
    alone = "Norm" not in step.node.op_type and step.view.opset >= 13
    if known.axis == axis or (known.axis > axis and not alone):
        raise Stop("every channel sees every other")
    if any(step.has(slot) and step.rank(slot) > len(step.shape(0)) - axis for slot in (1, 2)):
        raise Stop("a parameter does not fit the axes")
    step.straight(0, known)
    step.put(known.axis, known.ids)


@RULES.register("LRN", 1, 13)
def neighbours(step: Step) -> None:
    """A sum over neighbouring channels: were one to go, others would become neighbours."""
    if step.channels(0) is not None:
        raise Stop("channels see their neighbours")
