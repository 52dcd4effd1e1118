"""Conv, ConvTranspose, Gemm and MatMul: layers that sum over their input channels.

y[o] = sum over i, taps t of weight[o, i, t] x[i] + bias[o]. Each output gets an id of its own. An output is constant where every weight
that is not zero meets a constant input, and that constant is zero or the layer does not pad (at a border fewer taps are summed). A layer
with one input channel a group (depthwise) does not mix channels: a group's input goes with its outputs.

Not covered: computed weights, weights that several layers read behind a DequantizeLinear, a channel axis other than the one that is summed
over, transA, products of two computed values (attention).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import prod

import numpy as np

from rnpc.passes.facts.channels.base import RULES, Balance, Bias, Channels, Cut, Layout, Linear, Number, Step, Stop
from rnpc.passes.facts.channels.operands import Operand, find_operand
from rnpc.passes.facts.view import is_op


@dataclass(frozen=True)
class Layer:
    """What the four operators have in common. A sum of weights times `alpha` reaches the output, times `scale` it is one of the bias."""

    weight: Operand
    layout: Layout
    groups: int
    axis: int
    pads: bool
    bias: Bias | None
    alpha: float = 1.0
    scale: float = 1.0

    @property
    def sides(self) -> tuple[int, int]:
        """Inputs and outputs."""
        first, second = self.weight.shape[0], self.weight.shape[1] * self.groups
        return (second, first) if self.layout == "out_in" else (first, second)


@RULES.register("Conv", 1, 22)
def conv(step: Step) -> None:
    """Convolution over axis 1, in groups."""
    weight = step.need(1, "the weight")
    pads = padded(step, weight.shape[2:])
    describe(step, Layer(weight, "out_in", step.attr("group", 1), 1, pads, bias_of(step, weight.shape[0])))


@RULES.register("ConvTranspose", 1, 22)
def conv_transpose(step: Step) -> None:
    """Transposed convolution: an output entry sees as many taps as there are inputs around it; only 1 x 1 at stride 1 keeps constants."""
    weight, groups = step.need(1, "the weight"), step.attr("group", 1)
    pads = prod(weight.shape[2:]) > 1 or any(s > 1 for s in step.attr("strides", [])) or any(step.attr("output_padding", []))
    pads = pads or padded(step, weight.shape[2:])
    describe(step, Layer(weight, "in_out", groups, 1, pads, bias_of(step, weight.shape[1] * groups)))


@RULES.register("Gemm", 7, 13)
def gemm(step: Step) -> None:
    """y = alpha x B + beta C."""
    weight, trans = step.need(1, "the matrix"), step.attr("transB", 0)
    alpha, beta = step.attr("alpha", 1.0), step.attr("beta", 1.0)
    if step.attr("transA", 0) or len(weight.shape) != 2:
        raise Stop("transA")
    units = weight.shape[0 if trans else 1]
    bias = bias_of(step, units, beta if step.has(2) else 1.0)
    scale = alpha / beta if step.has(2) and beta else alpha
    describe(step, Layer(weight, "out_in" if trans else "in_out", 1, 1, False, bias, alpha, scale))


@RULES.register("MatMul", 1, 13)
def matmul(step: Step) -> None:
    """y = x B with a stored matrix B [in, out]; an Add that alone reads the product takes constants."""
    weight = step.operand(1)
    if weight is None:
        raise Stop("it multiplies by what is computed")
    if len(weight.shape) != 2:
        raise Stop("the matrix has more than two axes")
    describe(step, Layer(weight, "in_out", 1, len(step.shape(0)) - 1, False, bias_behind(step, weight.shape[1])))


def padded(step: Step, kernel: tuple[int, ...]) -> bool:
    """Whether some outputs see fewer entries than others."""
    mode = step.attr("auto_pad", b"NOTSET")
    if mode in (b"SAME_UPPER", b"SAME_LOWER"):
        return any(size > 1 for size in kernel)
    return mode == b"NOTSET" and any(step.attr("pads", []))


def bias_of(step: Step, outputs: int, beta: float = 1.0) -> Bias | None:
    """The third input as a bias that may be written to; None where it is computed or has another shape."""
    slot = (step.k, 2)
    if not step.has(2):
        return Bias(slot, np.zeros(outputs), missing=True)
    found = step.operand(2)
    fits = found is not None and found.plain and beta != 0 and found.array.size == outputs == found.shape[-1]
    return Bias(slot, found.array) if found is not None and fits else None


def bias_behind(step: Step, outputs: int) -> Bias | None:
    """The stored bias of an Add that alone reads the product."""
    k = step.view.only_reader(step.node.output[0])
    if k is None or not is_op(step.view.nodes[k], "Add"):
        return None
    slot = 1 - list(step.view.nodes[k].input).index(step.node.output[0])
    found = find_operand(step.view, (k, slot))
    fits = found is not None and found.plain and found.array.size == outputs == (found.shape or (0,))[-1]
    return Bias((k, slot), found.array) if found is not None and fits else None


def describe(step: Step, layer: Layer) -> None:
    """Ids, constants, cuts and the layer itself."""
    known, (inputs, outputs) = step.channels(0), layer.sides
    if known is not None and known.axis != layer.axis:
        raise Stop("it mixes another axis than the channels")
    if outputs % layer.groups or inputs % layer.groups or (known is not None and known.count != inputs):
        raise Stop("the weight does not fit the input's channels")
    ids = step.fresh(outputs)
    linear = make(step, layer, known or Channels(layer.axis, np.full(inputs, -1), np.full(inputs, np.nan)))
    cut_weight(step, layer, known, ids)
    cut_bias(step, ids)
    if known is not None and depthwise(layer):
        step.unite(np.repeat(known.ids, outputs // inputs), ids)
        step.flow(
            0,
            np.where(linear.reads.reshape(inputs, -1).any(axis=1), np.arange(inputs), -1),
            np.repeat(np.arange(inputs), outputs // inputs),
        )
    elif known is not None:
        step.found.linears.append(linear)
    step.put(layer.axis, ids, constants(step, layer, linear))


def depthwise(layer: Layer) -> bool:
    """Whether each output sees one input channel."""
    return layer.groups > 1 and layer.sides[0] == layer.groups


def make(step: Step, layer: Layer, known: Channels) -> Linear:
    """The layer for the choice of what goes; `reads` from its weights."""
    source, output, nothing = step.node.input[0], step.node.output[0], np.zeros((0, 0), dtype=bool)
    linear = Linear(step.k, source, output, known, layer.weight, layer.layout, layer.groups, nothing, layer.pads, layer.bias, layer.scale)
    reads = (linear.blocks(layer.weight.array) != 0).any(axis=3)
    return replace(linear, reads=reads.reshape(-1, reads.shape[2]))


def cut_weight(step: Step, layer: Layer, known: Channels | None, ids: np.ndarray) -> None:
    """Which ids the weight's axes follow; with groups, each must lose equally many on either side."""
    given = None if known is None else known.ids
    sides = (ids, given) if layer.layout == "out_in" else (given, ids)
    for axis, side in enumerate(sides[: 2 if layer.groups == 1 else 1]):
        if side is not None:
            step.cut(layer.weight, axis, side)
    if layer.groups == 1:
        return
    inner = None if known is None else known.ids.reshape(layer.groups, -1)
    outer = ids.reshape(layer.groups, -1)
    cut_in_groups(step, layer.weight, inner if layer.layout == "out_in" else outer)
    step.found.balances.append(Balance(step.k, outer, inner))
    if inner is not None:
        step.found.balances.append(Balance(step.k, inner, outer))
        step.found.numbers.append(Number(step.k, np.concatenate([inner, outer], axis=1), name="group"))


def cut_in_groups(step: Step, weight: Operand, ids: np.ndarray | None) -> None:
    """Axis 1 of a grouped weight: row r keeps those positions that its group keeps. A single position goes with the row."""
    if ids is None or weight.shape[1] == 1:
        return
    groups = np.repeat(np.arange(len(ids)), weight.shape[0] // len(ids))
    for leaf in weight.leaves:
        if 1 in leaf.axes and 0 not in leaf.axes:
            raise Stop("a grouped weight has a scale for each input")
        if 1 in leaf.axes:
            step.found.cuts.setdefault(leaf.slot, []).append(Cut(leaf.axes[1], ids, groups))
    step.found.shaped.extend((name, -1, ids) for name, _ in weight.chain)


def cut_bias(step: Step, ids: np.ndarray) -> None:
    """A stored bias with an entry for each output follows them."""
    if not step.has(2):
        return
    operand = step.need(2, "the bias")
    if operand.array.ndim and operand.shape[-1] == len(ids) and len(ids) > 1:
        step.cut(operand, operand.array.ndim - 1, ids)


def constants(step: Step, layer: Layer, linear: Linear) -> np.ndarray:
    """For each output its constant, nan where it has none."""
    given = linear.channels.constant.reshape(layer.groups, 1, -1)
    reads = linear.reads.reshape(layer.groups, -1, linear.reads.shape[1])
    passes = (given == 0) if layer.pads else ~np.isnan(given)
    fixed = ~(reads & ~passes).any(axis=2).reshape(-1)
    bias = bias_values(step, layer, len(fixed))
    if not fixed.any():
        return np.full(len(fixed), np.nan)
    sums = np.zeros(len(fixed))
    if (np.nan_to_num(given) != 0).any():
        sums = response(linear, np.nan_to_num(linear.channels.constant))
    return np.where(fixed, layer.alpha * sums + bias, np.nan)


def response(linear: Linear, constant: np.ndarray) -> np.ndarray:
    """What these constants add to each output away from borders: sum over i, t of weight[o, i, t] constant[i] (float64)."""
    used = np.flatnonzero((constant.reshape(linear.groups, -1) != 0).any(axis=0))
    blocks = linear.blocks(linear.weight.array)[:, :, used].astype(np.float64)
    return added(blocks * constant.reshape(linear.groups, 1, -1, 1)[:, :, used]).reshape(-1)


def added(terms: np.ndarray) -> np.ndarray:
    """Sums over the last two axes, term after term: the same bits on every machine, which a matrix product does not promise."""
    rows = np.ascontiguousarray(terms.reshape(-1, terms.shape[-2] * terms.shape[-1]).T)
    return np.asarray(np.add.reduce(rows, axis=0).reshape(terms.shape[:-2]))


def bias_values(step: Step, layer: Layer, outputs: int) -> np.ndarray:
    """The bias that each output gets; nan where it is not one number for all entries."""
    if not step.has(2):
        return np.zeros(outputs)
    array = np.asarray(step.need(2, "the bias").array, dtype=np.float64)
    rows = np.broadcast_to(array, (array.shape[0] if array.ndim > 1 else 1, outputs))
    beta = step.attr("beta", 1.0) if step.node.op_type == "Gemm" else 1.0
    return np.where((rows == rows[:1]).all(axis=0), rows[0] * beta, np.nan)
