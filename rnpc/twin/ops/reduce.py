"""Reductions over axes, which are an attribute in older versions and an input in newer ones."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from rnpc.twin.node import Node, Run, integers, operator

Reduce = Callable[[Tensor, list[int], bool], Tensor]


def reduction(node: Node, reduce: Reduce) -> Run:
    """No axes means all of them, or, where `noop_with_empty_axes` is set, none."""
    fixed = node.integers(1, "axes")
    keep, noop = bool(node.get("keepdims", 1)), bool(node.get("noop_with_empty_axes", 0))

    def run(x: Tensor, axes: Tensor | None = None) -> Tensor:
        over = integers(fixed, axes) or []
        if over or not noop:
            return reduce(x, over or list(range(x.dim())), keep)
        return reduce(x.unsqueeze(-1), [-1], False)

    return run


@operator("ReduceMean", 1, 18)
def reduce_mean(node: Node) -> Run:
    """Mean"""
    return reduction(node, lambda x, axes, keep: x.mean(axes, keep))


@operator("ReduceSum", 1, 13)
def reduce_sum(node: Node) -> Run:
    """Sum"""
    return reduction(node, lambda x, axes, keep: x.sum(axes, keep, dtype=x.dtype))


@operator("ReduceMax", 1, 20)
def reduce_max(node: Node) -> Run:
    """Largest"""
    return reduction(node, lambda x, axes, keep: x.amax(axes, keep))


@operator("ReduceMin", 1, 20)
def reduce_min(node: Node) -> Run:
    """Smallest"""
    return reduction(node, lambda x, axes, keep: x.amin(axes, keep))


@operator("ReduceProd", 1, 18)
def reduce_prod(node: Node) -> Run:
    """Product"""

    def product(x: Tensor, axes: list[int], keep: bool) -> Tensor:
        for axis in sorted((a % x.dim() for a in axes), reverse=True):
            x = x.prod(axis, keep, dtype=x.dtype)
        return x

    return reduction(node, product)


@operator("ReduceL1", 1, 18)
def reduce_l1(node: Node) -> Run:
    """Sum of magnitudes"""
    return reduction(node, lambda x, axes, keep: x.abs().sum(axes, keep, dtype=x.dtype))


@operator("ReduceL2", 1, 18)
def reduce_l2(node: Node) -> Run:
    """Root of the sum of squares"""
    return reduction(node, lambda x, axes, keep: torch.linalg.vector_norm(x, 2, axes, keep))


@operator("ReduceSumSquare", 1, 18)
def reduce_sum_square(node: Node) -> Run:
    """Sum of squares"""
    return reduction(node, lambda x, axes, keep: (x * x).sum(axes, keep, dtype=x.dtype))


@operator("ReduceLogSum", 1, 18)
def reduce_log_sum(node: Node) -> Run:
    """Logarithm of the sum"""
    return reduction(node, lambda x, axes, keep: x.sum(axes, keep).log())


@operator("ReduceLogSumExp", 1, 18)
def reduce_log_sum_exp(node: Node) -> Run:
    """Logarithm of the sum of exponentials"""
    return reduction(node, lambda x, axes, keep: x.logsumexp(axes, keep))


@operator("ArgMax", 1, 13)
def arg_max(node: Node) -> Run:
    """Index of the largest, the first of equals unless `select_last_index` is set"""
    return _arg(node, torch.argmax)


@operator("ArgMin", 1, 13)
def arg_min(node: Node) -> Run:
    """Index of the smallest, the first of equals unless `select_last_index` is set"""
    return _arg(node, torch.argmin)


def _arg(node: Node, find: Callable[..., Tensor]) -> Run:
    axis, keep = int(node.get("axis", 0)), bool(node.get("keepdims", 1))
    if not node.get("select_last_index", 0):
        return lambda x: find(x, axis, keep)
    return lambda x: x.shape[axis] - 1 - find(x.flip(axis), axis, keep)


@operator("TopK", 1, 24)
def top_k(node: Node) -> Run:
    """The k largest or smallest along one axis, the first of equals first, and their indices"""
    axis, largest = int(node.get("axis", -1)), bool(node.get("largest", 1))
    fixed = node.integers(1, "k")

    def run(x: Tensor, k: Tensor | None = None) -> tuple[Tensor, Tensor]:
        values, index = torch.sort(x, dim=axis, descending=largest, stable=True)
        many = (integers(fixed, k) or [1])[0]
        return values.narrow(axis, 0, many), index.narrow(axis, 0, many)

    return run


@operator("CumSum", 11, 14)
def cum_sum(node: Node) -> Run:
    """Running sum along one axis"""
    exclusive, reverse = bool(node.get("exclusive", 0)), bool(node.get("reverse", 0))

    def run(x: Tensor, at: Tensor) -> Tensor:
        axis = int(at)
        x = x.flip(axis) if reverse else x
        y = x.cumsum(axis, dtype=x.dtype)
        y = y - x if exclusive else y
        return y.flip(axis) if reverse else y

    return run
