"""Elementwise arithmetic of two or more tensors, with broadcasting."""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce

import torch
from torch import Tensor

from rnpc.twin.node import Node, Run, operator, together


def binary(function: Callable[[Tensor, Tensor], Tensor]) -> Run:
    """A function of two tensors that may lie on different devices (sizes and constants stay on the CPU)."""
    return lambda a, b: function(*together(a, b))


def chain(function: Callable[[Tensor, Tensor], Tensor]) -> Run:
    """The same for any number of tensors, from left to right."""
    return lambda *tensors: reduce(lambda a, b: function(*together(a, b)), tensors)


@operator("Add", 7, 14)
def add(node: Node) -> Run:
    """a + b"""
    return binary(torch.add)


@operator("Sub", 7, 14)
def sub(node: Node) -> Run:
    """a - b"""
    return binary(torch.sub)


@operator("Mul", 7, 14)
def mul(node: Node) -> Run:
    """a b"""
    return binary(torch.mul)


@operator("Div", 7, 14)
def div(node: Node) -> Run:
    """a / b; integers are cut towards zero"""
    return binary(lambda a, b: torch.div(a, b, rounding_mode=None if a.is_floating_point() else "trunc"))


@operator("Mod", 10, 13)
def mod(node: Node) -> Run:
    """Remainder with the sign of the divisor, or of the dividend where `fmod` is set"""
    return binary(torch.fmod if node.get("fmod", 0) else torch.remainder)


@operator("Pow", 7, 15)
def power(node: Node) -> Run:
    """a to the power of b, in the type of a"""
    fixed = node.fixed(1)
    if fixed is not None and fixed.size == 1 and fixed.ndim == 0:
        exponent = float(fixed)
        return lambda a, _: torch.pow(a, exponent).to(a.dtype)
    return binary(lambda a, b: torch.pow(a, b).to(a.dtype))


@operator("Min", 6, 13)
def minimum(node: Node) -> Run:
    """Smallest of all inputs"""
    return chain(torch.minimum)


@operator("Max", 6, 13)
def maximum(node: Node) -> Run:
    """Largest of all inputs"""
    return chain(torch.maximum)


@operator("Sum", 6, 13)
def total(node: Node) -> Run:
    """Sum of all inputs"""
    return chain(torch.add)


@operator("Mean", 6, 13)
def mean(node: Node) -> Run:
    """Mean of all inputs"""
    add_all = chain(torch.add)
    return lambda *tensors: add_all(*tensors) / len(tensors)
