"""Padding of sliding windows: ONNX pads each side by its own amount, torch both sides alike."""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor

from rnpc.twin.node import Node

Pads = list[tuple[int, int]]
"""(before, after) for each sliding axis."""


def explicit(node: Node) -> Pads | None:
    """The `pads` attribute as pairs; None where it is absent."""
    pads = node.get("pads")
    if pads is None:
        return None
    rank = len(pads) // 2
    return [(int(pads[i]), int(pads[i + rank])) for i in range(rank)]


def same(sizes: Sequence[int], kernel: Sequence[int], stride: Sequence[int], dilation: Sequence[int], *, upper: bool) -> Pads:
    """Pads for auto_pad SAME_*: output size is ceil(size / stride); an odd rest goes after (upper) or before (lower)."""
    pads = []
    for size, k, s, d in zip(sizes, kernel, stride, dilation, strict=True):
        total = max(0, (-(-size // s) - 1) * s + (k - 1) * d + 1 - size)
        pads.append((total // 2, total - total // 2) if upper else (total - total // 2, total // 2))
    return pads


def even(x: Tensor, pads: Pads, fill: float = 0.0) -> tuple[Tensor, list[int]]:
    """The input, padded where the sides differ, and the symmetric padding that is left to the window."""
    if all(before == after for before, after in pads):
        return x, [before for before, _ in pads]
    return padded(x, pads, fill), [0] * len(pads)


def padded(x: Tensor, pads: Pads, fill: float = 0.0) -> Tensor:
    """The input with its last axes padded."""
    return F.pad(x, [side for pair in reversed(pads) for side in pair], value=fill)
