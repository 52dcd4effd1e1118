"""Convolutions. Padding that torch's convolutions lack is done before or after them.

A strided 1 x 1 convolution of few channels is given every s-th pixel: the gradient of its weights would corrupt the heap on some
processors (`rnpc.speed.layout`).
"""

from __future__ import annotations

from collections.abc import Callable

import torch.nn.functional as F
from torch import Tensor

from rnpc.speed import overruns
from rnpc.twin.node import Node, Run, operator
from rnpc.twin.ops.window import Pads, even, explicit, same

CONV: dict[int, Callable[..., Tensor]] = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}
TRANSPOSED: dict[int, Callable[..., Tensor]] = {1: F.conv_transpose1d, 2: F.conv_transpose2d, 3: F.conv_transpose3d}


@operator("Conv", 1, 22)
def conv(node: Node) -> Run:
    """Cross-correlation; the weight's rank says how many axes slide"""
    groups = int(node.get("group", 1))
    strides, dilations, pads = node.get("strides"), node.get("dilations"), explicit(node)
    auto = node.get("auto_pad", "NOTSET")

    def run(x: Tensor, w: Tensor, b: Tensor | None = None) -> Tensor:
        rank = w.dim() - 2
        stride, dilation = strides or [1] * rank, dilations or [1] * rank
        around = pads or [(0, 0)] * rank
        if auto.startswith("SAME"):
            around = same(x.shape[2:], w.shape[2:], stride, dilation, upper=auto == "SAME_UPPER")
        x, padding = even(x, around)
        if x.device.type == "cpu" and not any(padding) and overruns(w.shape[2:], stride, w.shape[1]):
            x, stride = x[(slice(None), slice(None), *(slice(None, None, s) for s in stride))], [1] * rank
        return CONV[rank](x, w, b, stride, padding, dilation, groups)

    return run


@operator("ConvTranspose", 1, 22)
def conv_transpose(node: Node) -> Run:
    """The adjoint of Conv: computed without padding, then cropped, since ONNX crops each side by its own amount"""
    groups, strides, dilations = int(node.get("group", 1)), node.get("strides"), node.get("dilations")

    def run(x: Tensor, w: Tensor, b: Tensor | None = None) -> Tensor:
        rank = w.dim() - 2
        stride, dilation = strides or [1] * rank, dilations or [1] * rank
        full = TRANSPOSED[rank](x, w, None, stride, 0, 0, groups, dilation)
        crop = _crop(node, x.shape[2:], full.shape[2:], stride)
        y = F.pad(full, [-side for pair in reversed(crop) for side in pair]) if any(map(any, crop)) else full
        return y if b is None else y + b.reshape(-1, *[1] * rank)

    return run


def _crop(node: Node, sizes: tuple[int, ...], full: tuple[int, ...], stride: list[int]) -> Pads:
    """How much to take away before and after on each axis; less than nothing adds zeros."""
    extra = node.get("output_padding") or [0] * len(full)
    auto, shape = node.get("auto_pad", "NOTSET"), node.get("output_shape")
    if shape is None and auto.startswith("SAME"):
        shape = [size * s for size, s in zip(sizes, stride, strict=True)]
    if shape is None:
        pads = explicit(node) or [(0, 0)] * len(full)
        return [(before, after - e) for (before, after), e in zip(pads, extra, strict=True)]
    crop = []
    for have, want, e in zip(full, shape[-len(full) :], extra, strict=True):
        total = have + e - want
        before = total // 2 if auto == "SAME_UPPER" else total - total // 2
        crop.append((before, total - before - e))
    return crop
