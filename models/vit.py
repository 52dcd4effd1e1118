"""ViT-S: the image as a row of patches, a class token, blocks of attention and MLP, LayerNorm before each.

Source: Dosovitskiy et al., "An image is worth 16x16 words" (ICLR 2021), in the small size of Touvron et al., "Training data-efficient
image transformers" (ICML 2021): 384 channels, 12 blocks, 6 heads of 64. a = softmax(Q K^T / sqrt(d)) V in each head. The usual width is
384; heads stay 64 wide from width 128 on, and two below it. Patches have 16 pixels, below 96 pixels 4.
"""

from __future__ import annotations

from math import sqrt

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rnpc.errors import UsageError
from rnpc.models.parts import LARGE, check_size

HEAD, EPSILON = 64, 1e-6


class Attention(nn.Module):
    """Attention among the tokens of [n, tokens, width], in `heads` heads."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query = nn.Linear(width, width)
        self.key = nn.Linear(width, width)
        self.value = nn.Linear(width, width)
        self.out = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (self.split(part(x)) for part in (self.query, self.key, self.value))
        weights = torch.softmax(q @ k.transpose(2, 3) / sqrt(q.shape[3]), -1)
        joined: Tensor = self.out((weights @ v).transpose(1, 2).flatten(2))
        return joined

    def split(self, x: Tensor) -> Tensor:
        """[n, tokens, width] -> [n, heads, tokens, width / heads]."""
        parts: Tensor = x.unflatten(2, (self.heads, -1))
        return parts.transpose(1, 2)


class Block(nn.Module):
    """x + attention(layernorm(x)), then x + mlp(layernorm(x)); the MLP is four times as wide inside, with GELU."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps=EPSILON)
        self.attention = Attention(width, heads)
        self.norm2 = nn.LayerNorm(width, eps=EPSILON)
        self.expand = nn.Linear(width, 4 * width)
        self.project = nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attention(self.norm1(x))
        y: Tensor = self.project(F.gelu(self.expand(self.norm2(x))))
        return x + y


class ViTS(nn.Module):
    """float [n, channels, size, size] -> scores [n, classes]. `size` is a multiple of the patch, or the rest is not seen.

    Raises UsageError where the width does not divide into the heads.
    """

    def __init__(self, classes: int, width: int = 384, channels: int = 3, size: int = 32, depth: int = 12) -> None:
        super().__init__()
        heads = max(2, width // HEAD)
        if width % heads:
            raise UsageError(
                f"width {width} does not divide into {heads} heads", where="vitsmall", todo="choose a multiple of 64, or an even one below"
            )
        patch = 16 if size >= LARGE else 4
        check_size(size, patch, "vitsmall")
        self.stem = nn.Conv2d(channels, width, patch, patch)
        self.token = nn.Parameter(torch.zeros(1, 1, width))
        self.places = nn.Parameter(0.02 * torch.randn(1, 1 + (size // patch) ** 2, width))
        self.blocks = nn.Sequential(*(Block(width, heads) for _ in range(depth)))
        self.norm = nn.LayerNorm(width, eps=EPSILON)
        self.fc = nn.Linear(width, classes)

    def forward(self, x: Tensor) -> Tensor:
        patches = self.stem(x).flatten(2).transpose(1, 2)
        tokens = torch.cat([self.token.expand(patches.shape[0], -1, -1), patches], 1) + self.places
        scores: Tensor = self.fc(self.norm(self.blocks(tokens)[:, 0]))
        return scores
