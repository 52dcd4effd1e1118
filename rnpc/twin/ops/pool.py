"""Pooling: the largest or the mean of a sliding window, or of all positions."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from rnpc.twin.node import Node, Run, Unhandled, operator
from rnpc.twin.ops.conv import CONV
from rnpc.twin.ops.window import Pads, explicit, padded, same

MAX: dict[int, Callable[..., Tensor]] = {1: F.max_pool1d, 2: F.max_pool2d, 3: F.max_pool3d}
AVERAGE: dict[int, Callable[..., Tensor]] = {1: F.avg_pool1d, 2: F.avg_pool2d, 3: F.avg_pool3d}


class Window:
    """Kernel, stride, dilation, padding and rounding of a pooling node."""

    def __init__(self, node: Node) -> None:
        self.kernel = [int(k) for k in node.attributes["kernel_shape"]]
        self.rank = len(self.kernel)
        if self.rank not in MAX:
            raise Unhandled(f"over {self.rank} axes")
        self.stride = [int(s) for s in node.get("strides") or [1] * self.rank]
        self.dilation = [int(d) for d in node.get("dilations") or [1] * self.rank]
        self.ceil = bool(node.get("ceil_mode", 0))
        self.auto = node.get("auto_pad", "NOTSET")
        self.explicit = explicit(node) or [(0, 0)] * self.rank

    def pads(self, x: Tensor) -> Pads:
        """(before, after) for each axis, on this input."""
        if self.auto.startswith("SAME"):
            return same(x.shape[2:], self.kernel, self.stride, self.dilation, upper=self.auto == "SAME_UPPER")
        return self.explicit if self.auto == "NOTSET" else [(0, 0)] * self.rank

    def fits(self, pads: Pads) -> bool:
        """Whether torch takes this padding: alike on both sides and at most half the kernel."""
        return all(a == b and a <= k // 2 for (a, b), k in zip(pads, self.kernel, strict=True))

    def rest(self, x: Tensor, pads: Pads) -> Pads:
        """The padding, longer at the end where rounding up asks for one more window that starts inside."""
        if not self.ceil:
            return pads
        longer = []
        for size, k, s, d, (a, b) in zip(x.shape[2:], self.kernel, self.stride, self.dilation, pads, strict=True):
            reach = (k - 1) * d + 1
            windows = -(-(size + a + b - reach) // s) + 1
            windows -= (windows - 1) * s >= size + a
            longer.append((a, max(b, (windows - 1) * s + reach - size - a)))
        return longer


@operator("MaxPool", 1, 22)
def max_pool(node: Node) -> Run:
    """Largest of a window; padding never wins"""
    if node.wants(1):
        raise Unhandled("with Indices")
    w = Window(node)

    def run(x: Tensor) -> Tensor:
        pads = w.pads(x)
        if w.fits(pads):
            return MAX[w.rank](x, w.kernel, w.stride, [a for a, _ in pads], w.dilation, w.ceil)
        low = -math.inf if x.is_floating_point() else torch.iinfo(x.dtype).min
        return MAX[w.rank](padded(x, w.rest(x, pads), low), w.kernel, w.stride, 0, w.dilation)

    return run


@operator("AveragePool", 7, 22)
def average_pool(node: Node) -> Run:
    """Mean of a window, of its padding too where `count_include_pad` says so"""
    w = Window(node)
    include = bool(node.get("count_include_pad", 0))
    plain = all(d == 1 for d in w.dilation)

    def run(x: Tensor) -> Tensor:
        pads = w.pads(x)
        if plain and w.fits(pads):
            return AVERAGE[w.rank](x, w.kernel, w.stride, [a for a, _ in pads], w.ceil, include)
        counted = torch.ones_like(x[:1, :1])
        counted = padded(counted, pads, 1.0) if include else padded(counted, pads)
        missing = [(0, b - c) for (_, b), (_, c) in zip(w.rest(x, pads), pads, strict=True)]
        return _sums(padded(x, w.rest(x, pads)), w) / _sums(padded(counted, missing), w)

    return run


def _sums(x: Tensor, w: Window) -> Tensor:
    """Sum of each window, as a convolution with ones."""
    flat = x.reshape(-1, 1, *x.shape[2:])
    ones = torch.ones(1, 1, *w.kernel, dtype=x.dtype, device=x.device)
    y = CONV[w.rank](flat, ones, None, w.stride, 0, w.dilation)
    return y.reshape(*x.shape[:2], *y.shape[2:])


@operator("GlobalAveragePool", 1, 22)
def global_average_pool(node: Node) -> Run:
    """Mean over all spatial axes, which stay with size one"""
    return lambda x: x.mean(dim=tuple(range(2, x.dim())), keepdim=True)


@operator("GlobalMaxPool", 1, 22)
def global_max_pool(node: Node) -> Run:
    """Largest over all spatial axes, which stay with size one"""
    return lambda x: x.amax(dim=tuple(range(2, x.dim())), keepdim=True)
