"""Normalisations."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from rnpc.twin.node import Modes, Node, Run, Unhandled, operator

MOMENTUM = 0.1
"""Weight of the batch in the running statistics, as torch means it."""


@operator("BatchNormalization", 7, 15)
def batch_norm(node: Node) -> Modes:
    """(x - mean) / sqrt(var + eps) scale + bias for each channel; the twin's train mode takes the batch's mean and variance"""
    if node.get("training_mode", 0) or any(map(node.wants, range(1, 5))):
        raise Unhandled("in training mode")
    if node.get("spatial", 1) != 1:
        raise Unhandled("with statistics for each position")
    eps = float(node.get("epsilon", 1e-5))

    def evaluate(x: Tensor, scale: Tensor, bias: Tensor, mean: Tensor, var: Tensor) -> Tensor:
        return F.batch_norm(x, mean, var, scale, bias, False, MOMENTUM, eps)

    def train(x: Tensor, scale: Tensor, bias: Tensor, mean: Tensor, var: Tensor) -> Tensor:
        return F.batch_norm(x, mean, var, scale, bias, True, MOMENTUM, eps)

    return Modes(evaluate, train)


@operator("LayerNormalization", 17, 17)
def layer_norm(node: Node) -> Run:
    """Mean 0 and variance 1 over the axes from `axis` on, then scale and bias"""
    axis, eps = int(node.get("axis", -1)), float(node.get("epsilon", 1e-5))

    def run(x: Tensor, scale: Tensor, bias: Tensor | None = None) -> Tensor:
        shape = x.shape[axis:]
        if scale.shape == shape and (bias is None or bias.shape == shape):
            return F.layer_norm(x, shape, scale, bias, eps)
        y = F.layer_norm(x, shape, None, None, eps) * scale
        return y if bias is None else y + bias

    def with_moments(x: Tensor, scale: Tensor, bias: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor]:
        axes = list(range(axis % x.dim(), x.dim()))
        variance, mean = torch.var_mean(x, axes, correction=0, keepdim=True)
        return run(x, scale, bias), mean, torch.rsqrt(variance + eps)

    return with_moments if len(node.outputs) > 1 else run


@operator("RMSNormalization", 23, 23)
def rms_norm(node: Node) -> Run:
    """x over its root mean square over the axes from `axis` on, then scale"""
    axis, eps = int(node.get("axis", -1)), float(node.get("epsilon", 1e-5))
    return lambda x, scale: F.rms_norm(x, x.shape[axis:], None, eps) * scale


@operator("InstanceNormalization", 6, 22)
def instance_norm(node: Node) -> Run:
    """Mean 0 and variance 1 for each image and channel, then scale and bias"""
    eps = float(node.get("epsilon", 1e-5))
    return lambda x, scale, bias: F.instance_norm(x, weight=scale, bias=bias, eps=eps)


@operator("GroupNormalization", 21, 21)
def group_norm(node: Node) -> Run:
    """Mean 0 and variance 1 for each image and group, then scale and bias for each channel"""
    groups, eps = int(node.attributes["num_groups"]), float(node.get("epsilon", 1e-5))
    return lambda x, scale, bias: F.group_norm(x, groups, scale, bias, eps)


@operator("GroupNormalization", 18, 18)
def group_norm_by_group(node: Node) -> Run:
    """The same with scale and bias for each group"""
    groups, eps = int(node.attributes["num_groups"]), float(node.get("epsilon", 1e-5))

    def run(x: Tensor, scale: Tensor, bias: Tensor) -> Tensor:
        times = x.shape[1] // groups
        return F.group_norm(x, groups, scale.repeat_interleave(times), bias.repeat_interleave(times), eps)

    return run


@operator("LRN", 1, 13)
def lrn(node: Node) -> Run:
    """x / (bias + alpha mean of x^2 over `size` neighbouring channels)^beta, the mean counting those outside as 0"""
    size = int(node.attributes["size"])
    alpha, beta, bias = float(node.get("alpha", 1e-4)), float(node.get("beta", 0.75)), float(node.get("bias", 1.0))
    before = (size - 1) // 2

    def run(x: Tensor) -> Tensor:
        flat = x.pow(2).flatten(2).unsqueeze(1)
        flat = F.pad(flat, [0, 0, before, size - 1 - before])
        mean = F.avg_pool2d(flat, (size, 1), 1).reshape(x.shape)
        return x / (bias + alpha * mean).pow(beta)

    return run


@operator("LpNormalization", 1, 22)
def lp_norm(node: Node) -> Run:
    """x over its p-norm along one axis; zeros stay zeros"""
    axis, p = int(node.get("axis", -1)), int(node.get("p", 2))
    return lambda x: F.normalize(x, p=p, dim=axis, eps=1e-30)
