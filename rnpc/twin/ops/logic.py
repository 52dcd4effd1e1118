"""Comparisons, logic and choice."""

from __future__ import annotations

import torch
from torch import Tensor

from rnpc.twin.node import Node, Run, operator, together
from rnpc.twin.ops.arithmetic import binary


@operator("Equal", 7, 19)
def equal(node: Node) -> Run:
    """a = b"""
    return binary(torch.eq)


@operator("Less", 7, 13)
def less(node: Node) -> Run:
    """a < b"""
    return binary(torch.lt)


@operator("LessOrEqual", 12, 16)
def less_or_equal(node: Node) -> Run:
    """a <= b"""
    return binary(torch.le)


@operator("Greater", 7, 13)
def greater(node: Node) -> Run:
    """a > b"""
    return binary(torch.gt)


@operator("GreaterOrEqual", 12, 16)
def greater_or_equal(node: Node) -> Run:
    """a >= b"""
    return binary(torch.ge)


@operator("And", 7, 7)
def logical_and(node: Node) -> Run:
    """Both"""
    return binary(torch.logical_and)


@operator("Or", 7, 7)
def logical_or(node: Node) -> Run:
    """Either"""
    return binary(torch.logical_or)


@operator("Xor", 7, 7)
def logical_xor(node: Node) -> Run:
    """One but not both"""
    return binary(torch.logical_xor)


@operator("Where", 9, 16)
def where(node: Node) -> Run:
    """a where the condition holds, else b"""

    def run(condition: Tensor, a: Tensor, b: Tensor) -> Tensor:
        a, b = together(a, b)
        condition, a = together(condition, a)
        condition, b = together(condition, b)
        return torch.where(condition, a, b)

    return run
