"""Quantisation: codes are rounded as the runtime rounds them, and gradients pass straight through the rounding.

A code is a whole number; the twin holds it in float32, so that a gradient can pass. Q(x) = clamp(round(x / s) + z) has the gradient
1 / s within the range and none outside (Bengio, Leonard and Courville 2013, arXiv 1308.3432): a saturated value learns nothing, as
behind a Relu.
Rounding is done in float32 whatever autocast says: bfloat16 has no more digits than a code.

The operators that work on codes (QLinearConv, ConvInteger, ...) are not here: `passes.canonical.quantised` writes them with these and the
float ones before a twin is built.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import torch
from torch import Tensor

from rnpc.passes.canonical.codes import limits
from rnpc.twin.node import Node, Run, Unhandled, operator


class Round(torch.autograd.Function):
    """clamp(round(x / scale) + zero, low, high), with the gradient of the clamp alone; float32 in, float32 out."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, scale: Tensor, zero: Tensor, low: int, high: int) -> Tensor:
        """Codes in the shape of `x`."""
        raw = torch.round(x / scale).add_(zero)
        codes = raw.clamp(low, high)
        ctx.save_for_backward(codes == raw, scale)
        return codes

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> tuple[Tensor | None, ...]:
        """1 / scale within the range, none outside."""
        inside, scale = ctx.saved_tensors
        return grads[0] * inside / scale, None, None, None, None


def quantize_float(x: Tensor, scale: Tensor, zero: Tensor, low: int, high: int) -> Tensor:
    """Codes of `x` in float32; scale and zero broadcast against it."""
    codes: Tensor = Round.apply(x.float(), scale, zero, low, high)  # type: ignore[no-untyped-call]
    return codes


def _along(values: Tensor, x: Tensor, axis: int, block: int) -> Tensor:
    """Scales or zero points as float32 on the device of `x`, shaped so that they meet the entries that they belong to."""
    values = values.detach().to(x.device, torch.float32)
    if block:
        return values.repeat_interleave(block, axis).narrow(axis, 0, x.shape[axis])
    if values.numel() == 1:
        return values.reshape(())
    shape = [1] * x.dim()
    shape[axis] = -1
    return values.reshape(shape) if values.dim() == 1 else values


@operator("QuantizeLinear", 10, 25)
def quantize(node: Node) -> Run:
    """Code of x: round(x / scale) + zero point, halves to even, kept within the type's range; the gradient passes straight through"""
    axis, block = int(node.get("axis", 1)), int(node.get("block_size", 0))
    low, high = _range(node)

    def run(x: Tensor, scale: Tensor, zero: Tensor | None = None) -> Tensor:
        steps = _along(scale, x, axis, block)
        shift = torch.zeros_like(steps) if zero is None else _along(zero, x, axis, block)
        return quantize_float(x, steps, shift, low, high)

    return run


def _range(node: Node) -> tuple[int, int]:
    """Smallest and largest code, by the zero point's type or the attribute."""
    zero, stated = node.fixed(2), int(node.get("output_dtype", 0))
    if zero is None and node.has(2) and not stated:
        raise Unhandled("with a computed zero point")
    try:
        dtype = onnx.helper.tensor_dtype_to_np_dtype(stated) if stated else np.dtype(np.uint8) if zero is None else zero.dtype
        return limits(dtype)
    except ValueError as reason:
        raise Unhandled(f"to {reason}") from None


@operator("DequantizeLinear", 10, 25)
def dequantize(node: Node) -> Run:
    """What a code stands for: scale (code - zero point)"""
    axis, block = int(node.get("axis", 1)), int(node.get("block_size", 0))

    def run(x: Tensor, scale: Tensor, zero: Tensor | None = None) -> Tensor:
        codes = x.float()
        if zero is not None:
            codes = codes - _along(zero, x, axis, block)
        return codes * _along(scale, x, axis, block)

    return run


@operator("DynamicQuantizeLinear", 11, 11)
def dynamic_quantize(node: Node) -> Run:
    """Codes 0 to 255 of x, with the scale and zero point that its own values, and 0, just fill; these get no gradient"""

    def run(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        value = x.detach().float()
        low, high = value.amin().clamp(max=0.0), value.amax().clamp(min=0.0)
        scale = (high - low) / 255.0
        scale = torch.where(scale == 0, torch.ones_like(scale), scale)
        zero = torch.round(-low / scale).clamp(0.0, 255.0)
        return quantize_float(x, scale, zero, 0, 255), scale, zero

    return run
