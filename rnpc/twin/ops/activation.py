"""Activations. None works in place: a captured value must keep what it was."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from rnpc.twin.node import Node, Run, operator, together


@operator("Relu", 6, 14)
def relu(node: Node) -> Run:
    """max(x, 0)"""
    return torch.relu


@operator("LeakyRelu", 6, 16)
def leaky_relu(node: Node) -> Run:
    """x where positive, else alpha x"""
    alpha = float(node.get("alpha", 0.01))
    return lambda x: F.leaky_relu(x, alpha)


@operator("PRelu", 7, 16)
def prelu(node: Node) -> Run:
    """x where positive, else slope x; the slope is a weight"""

    def run(x: Tensor, slope: Tensor) -> Tensor:
        x, slope = together(x, slope)
        return x.clamp(min=0) + slope * x.clamp(max=0)

    return run


@operator("Elu", 6, 22)
def elu(node: Node) -> Run:
    """x where positive, else alpha (e^x - 1)"""
    alpha = float(node.get("alpha", 1.0))
    return lambda x: F.elu(x, alpha)


@operator("Celu", 12, 12)
def celu(node: Node) -> Run:
    """x where positive, else alpha (e^(x / alpha) - 1)"""
    alpha = float(node.get("alpha", 1.0))
    return lambda x: F.celu(x, alpha)


@operator("Selu", 6, 22)
def selu(node: Node) -> Run:
    """gamma Elu(x)"""
    alpha, gamma = float(node.get("alpha", 1.6732632423543772)), float(node.get("gamma", 1.0507009873554805))
    return lambda x: gamma * F.elu(x, alpha)


@operator("ThresholdedRelu", 10, 22)
def thresholded_relu(node: Node) -> Run:
    """x where above alpha, else 0"""
    alpha = float(node.get("alpha", 1.0))
    return lambda x: F.threshold(x, alpha, 0.0)


@operator("Softplus", 1, 22)
def softplus(node: Node) -> Run:
    """log(1 + e^x)"""
    return F.softplus


@operator("Softsign", 1, 22)
def softsign(node: Node) -> Run:
    """x / (1 + |x|)"""
    return F.softsign


@operator("Gelu", 20, 20)
def gelu(node: Node) -> Run:
    """x times the Gaussian distribution function of x, or its tanh form"""
    approximate = str(node.get("approximate", "none"))
    return lambda x: F.gelu(x, approximate=approximate)


@operator("Mish", 18, 22)
def mish(node: Node) -> Run:
    """x tanh(softplus(x))"""
    return F.mish


@operator("Swish", 24, 24)
def swish(node: Node) -> Run:
    """x sigmoid(alpha x)"""
    alpha = float(node.get("alpha", 1.0))
    return F.silu if alpha == 1.0 else lambda x: x * torch.sigmoid(alpha * x)


@operator("HardSigmoid", 6, 22)
def hard_sigmoid(node: Node) -> Run:
    """alpha x + beta, kept within [0, 1]"""
    alpha, beta = float(node.get("alpha", 0.2)), float(node.get("beta", 0.5))
    return lambda x: torch.clamp(alpha * x + beta, 0.0, 1.0)


@operator("HardSwish", 14, 22)
def hard_swish(node: Node) -> Run:
    """x HardSigmoid(x) with alpha 1/6 and beta 1/2"""
    return F.hardswish


@operator("Clip", 6, 13)
def clip(node: Node) -> Run:
    """x kept within bounds, which are attributes before version 11 and inputs from then on"""
    low, high = _bound(node, "min", 1), _bound(node, "max", 2)
    if _computed(node, 1) or _computed(node, 2):
        return _clip_computed

    def run(x: Tensor, *_: Tensor) -> Tensor:
        if low is None and high is None:
            return x
        return torch.clamp(x, low, high)

    return run


def _bound(node: Node, attribute: str, index: int) -> float | int | None:
    if attribute in node.attributes:
        return float(node.attributes[attribute])
    value = node.fixed(index)
    if value is None:
        return None
    scalar = value.reshape(-1)[0]
    return int(scalar) if value.dtype.kind in "iu" else float(scalar)


def _computed(node: Node, index: int) -> bool:
    return node.has(index) and node.fixed(index) is None


def _clip_computed(x: Tensor, low: Tensor | None = None, high: Tensor | None = None) -> Tensor:
    x = x if low is None else torch.maximum(x, low.to(x))
    return x if high is None else torch.minimum(x, high.to(x))


@operator("Softmax", 13, 13)
def softmax(node: Node) -> Run:
    """e^x over its sum along one axis"""
    axis = int(node.get("axis", -1))
    return lambda x: torch.softmax(x, axis)


@operator("Softmax", 1, 11)
def softmax_flat(node: Node) -> Run:
    """The same over all axes from `axis` on, taken as one"""
    axis = int(node.get("axis", 1))
    return lambda x: torch.softmax(x.flatten(axis), -1).reshape(x.shape)


@operator("LogSoftmax", 13, 13)
def log_softmax(node: Node) -> Run:
    """Logarithm of Softmax along one axis"""
    axis = int(node.get("axis", -1))
    return lambda x: torch.log_softmax(x, axis)


@operator("LogSoftmax", 1, 11)
def log_softmax_flat(node: Node) -> Run:
    """The same over all axes from `axis` on, taken as one"""
    axis = int(node.get("axis", 1))
    return lambda x: torch.log_softmax(x.flatten(axis), -1).reshape(x.shape)
