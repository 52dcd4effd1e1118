"""Elementwise functions of one tensor."""

from __future__ import annotations

import torch
from torch import Tensor

from rnpc.twin.node import Node, Run, operator


@operator("Abs", 6, 13)
def absolute(node: Node) -> Run:
    """|x|"""
    return torch.abs


@operator("Neg", 6, 13)
def negative(node: Node) -> Run:
    """-x"""
    return torch.neg


@operator("Reciprocal", 6, 13)
def reciprocal(node: Node) -> Run:
    """1 / x"""
    return torch.reciprocal


@operator("Floor", 6, 13)
def floor(node: Node) -> Run:
    """Largest integer not above x"""
    return torch.floor


@operator("Ceil", 6, 13)
def ceil(node: Node) -> Run:
    """Smallest integer not below x"""
    return torch.ceil


@operator("Round", 11, 22)
def nearest(node: Node) -> Run:
    """Nearest integer, halves to the even one"""
    return torch.round


@operator("Sign", 9, 13)
def sign(node: Node) -> Run:
    """-1, 0 or 1"""
    return torch.sign


@operator("Sqrt", 6, 13)
def sqrt(node: Node) -> Run:
    """Square root"""
    return torch.sqrt


@operator("Exp", 6, 13)
def exp(node: Node) -> Run:
    """e to the power of x"""
    return torch.exp


@operator("Log", 6, 13)
def log(node: Node) -> Run:
    """Natural logarithm"""
    return torch.log


@operator("Erf", 9, 13)
def erf(node: Node) -> Run:
    """Error function; exporters write Gelu with it"""
    return torch.erf


@operator("Sin", 7, 22)
def sin(node: Node) -> Run:
    """Sine"""
    return torch.sin


@operator("Cos", 7, 22)
def cos(node: Node) -> Run:
    """Cosine"""
    return torch.cos


@operator("Tanh", 6, 13)
def tanh(node: Node) -> Run:
    """Hyperbolic tangent"""
    return torch.tanh


@operator("Sigmoid", 6, 13)
def sigmoid(node: Node) -> Run:
    """1 / (1 + e^-x)"""
    return torch.sigmoid


@operator("Not", 1, 1)
def logical_not(node: Node) -> Run:
    """Logical complement"""
    return torch.logical_not


@operator("IsNaN", 9, 20)
def is_nan(node: Node) -> Run:
    """Whether x is no number"""
    return torch.isnan


@operator("Identity", 1, 25)
def identity(node: Node) -> Run:
    """x; stays where it makes a graph output"""

    def run(x: Tensor) -> Tensor:
        return x

    return run
