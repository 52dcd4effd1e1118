"""Operators that join, cut, pick and pad."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from rnpc.twin.node import Node, Run, Unhandled, integers, operator, together


@operator("Concat", 4, 13)
def concat(node: Node) -> Run:
    """Joined along one axis"""
    axis = int(node.attributes["axis"])

    def run(*tensors: Tensor) -> Tensor:
        device = next((t.device for t in tensors if t.device.type != "cpu"), None)
        return torch.cat(tensors if device is None else [t.to(device) for t in tensors], axis)

    return run


@operator("Split", 2, 18)
def split(node: Node) -> Run:
    """Cut along one axis, into parts of given sizes or into equal ones, the last of which may be smaller"""
    axis, parts = int(node.get("axis", 0)), len(node.outputs)
    fixed = node.integers(1, "split")

    def run(x: Tensor, sizes: Tensor | None = None) -> tuple[Tensor, ...]:
        given = integers(fixed, sizes) or _equal(x.shape[axis], parts)
        return tuple(x.narrow(axis, sum(given[:i]), size) for i, size in enumerate(given))

    return run if parts > 1 else lambda x, sizes=None: run(x, sizes)[0]


def _equal(size: int, parts: int) -> list[int]:
    each = -(-size // parts)
    return [max(0, min(each, size - each * i)) for i in range(parts)]


@operator("Slice", 1, 13)
def cut(node: Node) -> Run:
    """From start to end by step along the given axes; these are attributes before version 10 and inputs from then on"""
    old = node.since < 10
    fixed = [node.integers(i, name if old else None) for i, name in enumerate(("starts", "ends", "axes"), 1)]
    steps_fixed = node.integers(4)

    def run(x: Tensor, *given: Tensor | None) -> Tensor:
        inputs = [*given, *[None] * (4 - len(given))]
        starts, ends, axes = (integers(f, i) for f, i in zip(fixed, inputs, strict=False))
        steps = integers(steps_fixed, inputs[3])
        starts, ends = starts or [], ends or []
        axes = list(range(len(starts))) if axes is None else axes
        for axis, start, end, step in zip(axes, starts, ends, steps or [1] * len(starts), strict=True):
            x = _slice(x, axis, slice(start, end, step))
        return x

    return run


def _slice(x: Tensor, axis: int, span: slice) -> Tensor:
    start, end, step = span.indices(x.shape[axis])
    if step > 0:
        index: list[slice] = [slice(None)] * x.dim()
        index[axis] = slice(start, max(start, end), step)
        return x[tuple(index)]
    return x.index_select(axis, torch.arange(start, min(start, end), step, device=x.device))


@operator("Gather", 1, 13)
def gather(node: Node) -> Run:
    """The entries of one axis at given indices, which may count from the end"""
    axis, fixed = int(node.get("axis", 0)), node.fixed(1)
    if fixed is not None and fixed.ndim == 0:
        place = int(fixed)
        return lambda x, _: x.select(axis, place)

    def run(x: Tensor, index: Tensor) -> Tensor:
        flat = index.reshape(-1).to(x.device, torch.int64)
        flat = torch.where(flat < 0, flat + x.shape[axis], flat)
        at = axis % x.dim()
        return x.index_select(at, flat).reshape((*x.shape[:at], *index.shape, *x.shape[at + 1 :]))

    return run


@operator("GatherElements", 11, 13)
def gather_elements(node: Node) -> Run:
    """For each place of the indices the entry of its line along one axis"""
    axis = int(node.get("axis", 0))

    def run(x: Tensor, index: Tensor) -> Tensor:
        index = index.to(x.device, torch.int64)
        return torch.gather(x, axis, torch.where(index < 0, index + x.shape[axis], index))

    return run


@operator("GatherND", 11, 13)
def gather_nd(node: Node) -> Run:
    """Entries or slices at tuples of indices"""
    if node.get("batch_dims", 0):
        raise Unhandled("with batch_dims")
    return lambda x, index: x[tuple(index.to(x.device, torch.int64).movedim(-1, 0))]


@operator("ScatterND", 11, 18)
def scatter_nd(node: Node) -> Run:
    """A copy with the entries or slices at tuples of indices replaced"""
    if node.get("reduction", "none") != "none":
        raise Unhandled("with a reduction")

    def run(x: Tensor, index: Tensor, updates: Tensor) -> Tensor:
        return x.index_put(tuple(index.to(x.device, torch.int64).movedim(-1, 0)), updates.to(x.device))

    return run


@operator("Pad", 2, 25)
def pad(node: Node) -> Run:
    """More entries (or less, where negative) at the ends of axes: a constant, mirrored, repeated or wrapped"""
    mode = node.get("mode", "constant")
    fixed, axes_fixed = node.integers(1, "pads"), node.integers(3)
    value, fixed_value = float(node.get("value", 0.0)), node.fixed(2)
    if fixed_value is not None:
        value = float(fixed_value.reshape(-1)[0])

    def run(x: Tensor, pads: Tensor | None = None, fill: Tensor | None = None, axes: Tensor | None = None) -> Tensor:
        sides, over = integers(fixed, pads) or [], integers(axes_fixed, axes)
        over = list(range(len(sides) // 2)) if over is None else over
        amounts = [(0, 0)] * x.dim()
        for i, axis in enumerate(over):
            amounts[axis] = (sides[i], sides[i + len(over)])
        if mode != "constant":
            return _extend(x, amounts, mode)
        number = float(fill.detach()) if fill is not None and fixed_value is None else value
        return F.pad(x, [side for pair in reversed(amounts) for side in pair], value=number)

    return run


def _extend(x: Tensor, amounts: list[tuple[int, int]], mode: str) -> Tensor:
    """Padding from the tensor's own entries: the indices are padded in its stead, axis by axis."""
    for axis, (before, after) in enumerate(amounts):
        if not before and not after:
            continue
        places = np.arange(x.shape[axis])[max(0, -before) : x.shape[axis] + min(0, after)]
        how = {"reflect": "reflect", "edge": "edge", "wrap": "wrap"}[mode]
        index = np.pad(places, (max(0, before), max(0, after)), mode=how)  # type: ignore[call-overload]
        x = x.index_select(axis, torch.from_numpy(index).to(x.device))
    return x


@operator("Trilu", 14, 14)
def trilu(node: Node) -> Run:
    """One triangle of each matrix, zeros elsewhere"""
    cutter = torch.triu if node.get("upper", 1) else torch.tril
    return lambda x, k=None: cutter(x, 0 if k is None else int(k))


@operator("OneHot", 9, 11)
def one_hot(node: Node) -> Run:
    """An axis that holds `on` at the index and `off` elsewhere"""
    axis = int(node.get("axis", -1))

    def run(index: Tensor, depth: Tensor, values: Tensor) -> Tensor:
        size = int(depth.reshape(-1)[0])
        index, values = together(index.to(torch.int64), values)
        at = axis % (index.dim() + 1)
        places = torch.arange(size, device=index.device).reshape(-1, *[1] * (index.dim() - at))
        index = torch.where(index < 0, index + size, index)
        return torch.where(index.unsqueeze(at) == places, values[1], values[0])

    return run
