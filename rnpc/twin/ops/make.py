"""Operators that make tensors, change types, or do nothing outside training."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from rnpc.twin.node import DTYPES, Node, Run, Unhandled, host, integers, operator


@operator("Constant", 1, 25)
def constant(node: Node) -> Run:
    """A tensor written in the graph; only text and sparse tensors get here, all others are initializers by now"""
    raise Unhandled("of text or a sparse tensor")


@operator("ConstantOfShape", 9, 25)
def constant_of_shape(node: Node) -> Run:
    """A tensor of one value, on the CPU"""
    fixed = node.integers(0)
    value = host(np.asarray(node.get("value", np.zeros(1, np.float32)))).reshape(-1)[0]
    dtype, number = value.dtype, value.item()
    return lambda shape: torch.full(tuple(integers(fixed, shape) or ()), number, dtype=dtype)


@operator("Range", 11, 11)
def count(node: Node) -> Run:
    """Numbers from start to below the limit by steps, on the CPU"""

    def run(start: Tensor, limit: Tensor, delta: Tensor) -> Tensor:
        return torch.arange(start.item(), limit.item(), delta.item(), dtype=start.dtype)

    return run


@operator("Cast", 6, 25)
def cast(node: Node) -> Run:
    """To another type; between floats it does nothing, since the twin has one float type"""
    to = int(node.attributes["to"])
    if to not in DTYPES:
        raise Unhandled(f"to element type {to}")
    return _to(DTYPES[to])


@operator("CastLike", 15, 25)
def cast_like(node: Node) -> Run:
    """To the type of another tensor"""
    return lambda x, like: _to(like.dtype)(x)


def _to(dtype: torch.dtype) -> Run:
    def run(x: Tensor) -> Tensor:
        return x if dtype.is_floating_point and x.is_floating_point() else x.to(dtype)

    return run


@operator("Dropout", 7, 22)
def dropout(node: Node) -> Run:
    """x: dropout is off, in the twin's train mode too"""
    training = node.fixed(2)
    if node.has(2) and (training is None or bool(training)):
        raise Unhandled("in training mode")

    def run(x: Tensor, *_: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        return (x, torch.ones_like(x, dtype=torch.bool)) if len(node.outputs) > 1 else x

    return run


@operator("EyeLike", 9, 22)
def eye_like(node: Node) -> Run:
    """Ones on a diagonal"""
    k, dtype = int(node.get("k", 0)), node.get("dtype")

    def run(x: Tensor) -> Tensor:
        ones = torch.ones(x.shape, dtype=x.dtype if dtype is None else DTYPES[dtype], device=x.device)
        return ones.triu(k).tril(k)

    return run
