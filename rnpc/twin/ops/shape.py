"""Operators that move no numbers: views, permutations, sizes."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from rnpc.twin.node import Node, Run, Unhandled, integers, operator


@operator("Reshape", 5, 25)
def reshape(node: Node) -> Run:
    """To a given shape; -1 is what is left over, 0 keeps a size unless `allowzero` is set"""
    fixed, zero = node.integers(1), bool(node.get("allowzero", 0))
    if fixed is not None and (zero or 0 not in fixed):
        target = tuple(fixed)
        return lambda x, _: x.reshape(target)

    def run(x: Tensor, shape: Tensor) -> Tensor:
        sizes = tuple(integers(fixed, shape) or ())
        return x.reshape(sizes if zero else tuple(s or x.shape[i] for i, s in enumerate(sizes)))

    return run


@operator("Flatten", 1, 25)
def flatten(node: Node) -> Run:
    """To two axes, split before `axis`"""
    axis = int(node.get("axis", 1))
    return lambda x: x.reshape(math.prod(x.shape[:axis]), math.prod(x.shape[axis:]))


@operator("Transpose", 1, 25)
def transpose(node: Node) -> Run:
    """Axes in another order, reversed by default"""
    order = node.get("perm")
    return lambda x: x.permute(order if order is not None else tuple(reversed(range(x.dim()))))


@operator("Squeeze", 1, 25)
def squeeze(node: Node) -> Run:
    """Without the given axes of size one, or without all of them"""
    fixed = node.integers(1, "axes")

    def run(x: Tensor, axes: Tensor | None = None) -> Tensor:
        over = integers(fixed, axes)
        return x.squeeze() if over is None else x.squeeze(tuple(over))

    return run


@operator("Unsqueeze", 1, 25)
def unsqueeze(node: Node) -> Run:
    """With axes of size one at the given places of the result"""
    fixed = node.integers(1, "axes")

    def run(x: Tensor, axes: Tensor | None = None) -> Tensor:
        places = integers(fixed, axes) or []
        rank = x.dim() + len(places)
        for place in sorted(p % rank for p in places):
            x = x.unsqueeze(place)
        return x

    return run


@operator("Expand", 8, 13)
def expand(node: Node) -> Run:
    """Repeated along axes of size one, as broadcasting does"""
    fixed = node.integers(1)

    def run(x: Tensor, shape: Tensor) -> Tensor:
        target = list(integers(fixed, shape) or ())
        for back in range(1, min(len(target), x.dim()) + 1):
            target[-back] = x.shape[-back] if target[-back] == 1 else target[-back]
        return x.expand([*x.shape[: max(0, x.dim() - len(target))], *target])

    return run


@operator("Tile", 6, 13)
def tile(node: Node) -> Run:
    """Repeated a number of times along each axis"""
    fixed = node.integers(1)
    return lambda x, times: x.repeat(integers(fixed, times) or [])


@operator("Shape", 1, 25)
def shape(node: Node) -> Run:
    """Sizes of the axes `start` to `end`, on the CPU"""
    start, end = int(node.get("start", 0)), node.get("end")
    return lambda x: torch.tensor(x.shape[start:end], dtype=torch.int64)


@operator("Size", 1, 25)
def size(node: Node) -> Run:
    """Number of elements, on the CPU"""
    return lambda x: torch.tensor(x.numel())


@operator("DepthToSpace", 1, 13)
def depth_to_space(node: Node) -> Run:
    """Blocks of channels become blocks of pixels; DCR takes the block's place from the slow end of the channels, CRD from the fast one"""
    block, mode = int(node.attributes["blocksize"]), node.get("mode", "DCR")
    if mode == "CRD":
        return lambda x: F.pixel_shuffle(x, block)

    def run(x: Tensor) -> Tensor:
        n, c, h, w = x.shape
        y = x.reshape(n, block, block, c // block**2, h, w).permute(0, 3, 4, 1, 5, 2)
        return y.reshape(n, c // block**2, h * block, w * block)

    return run


@operator("SpaceToDepth", 1, 13)
def space_to_depth(node: Node) -> Run:
    """Blocks of pixels become blocks of channels, the block's place at the slow end"""
    block = int(node.attributes["blocksize"])
    if node.get("mode", "DCR") != "DCR":
        raise Unhandled(f"in mode {node.get('mode')}")

    def run(x: Tensor) -> Tensor:
        n, c, h, w = x.shape
        y = x.reshape(n, c, h // block, block, w // block, block).permute(0, 3, 5, 1, 2, 4)
        return y.reshape(n, c * block**2, h // block, w // block)

    return run
