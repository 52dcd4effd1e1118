"""Matrix products and attention."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from rnpc.twin.node import Node, Run, Unhandled, operator
from rnpc.twin.ops.arithmetic import binary


@operator("Gemm", 7, 13)
def gemm(node: Node) -> Run:
    """alpha A B + beta C, either factor transposed"""
    alpha, beta = float(node.get("alpha", 1.0)), float(node.get("beta", 1.0))
    left, right = bool(node.get("transA", 0)), bool(node.get("transB", 0))

    def run(a: Tensor, b: Tensor, c: Tensor | None = None) -> Tensor:
        a = a.t() if left else a
        w = b if right else b.t()
        if alpha == 1.0 and beta == 1.0 and (c is None or (c.dim() == 1 and c.numel() == w.shape[0])):
            return F.linear(a, w, c)
        product = F.linear(a, w) * alpha
        return product if c is None else product + beta * c

    return run


@operator("MatMul", 1, 13)
def matmul(node: Node) -> Run:
    """Matrix product over the last two axes"""
    return binary(torch.matmul)


@operator("Einsum", 12, 12)
def einsum(node: Node) -> Run:
    """Sum of products as the equation says"""
    equation = str(node.attributes["equation"]).replace(" ", "")
    return lambda *tensors: torch.einsum(equation, *tensors)


ATTENTION = {"scale", "is_causal", "q_num_heads", "kv_num_heads", "softmax_precision"}
"""Attributes of Attention that the twin follows; of others only those that are off (0, or -1 for a window) are let through."""


@operator("Attention", 23, 25)
def attention(node: Node) -> Run:
    """softmax(scale Q K^T + mask) V for each head; without a cache of past keys"""
    if any(map(node.has, range(4, 7))) or len(node.outputs) > 1:
        raise Unhandled("with a cache")
    if other := sorted(name for name, value in node.attributes.items() if name not in ATTENTION and value not in (0, -1)):
        raise Unhandled(f"with {', '.join(other)}")
    scale, causal = node.get("scale"), bool(node.get("is_causal", 0))
    heads, kv_heads = node.get("q_num_heads"), node.get("kv_num_heads")

    def run(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None) -> Tensor:
        flat = q.dim() == 3
        if flat:
            q, k, v = _split(q, heads), _split(k, kv_heads), _split(v, kv_heads)
        if mask is not None and mask.shape[-1] < k.shape[2]:
            raise ValueError("attention mask shorter than the keys")
        y = F.scaled_dot_product_attention(q, k, v, _mask(mask, causal, q, k), scale=scale, enable_gqa=q.shape[1] != k.shape[1])
        return y.transpose(1, 2).flatten(2) if flat else y

    return run


def _split(x: Tensor, heads: int) -> Tensor:
    """[n, length, heads x size] -> [n, heads, length, size]"""
    return x.reshape(x.shape[0], x.shape[1], heads, -1).transpose(1, 2)


def _mask(mask: Tensor | None, causal: bool, q: Tensor, k: Tensor) -> Tensor | None:
    """The mask to add or to select by, with later keys ruled out where attention is causal."""
    if mask is not None:
        mask = mask.to(q.device)
    if not causal:
        return mask
    early = torch.ones(q.shape[2], k.shape[2], dtype=torch.bool, device=q.device).tril()
    if mask is None:
        return early
    return mask & early if mask.dtype == torch.bool else mask.masked_fill(~early, float("-inf"))
