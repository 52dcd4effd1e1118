"""Blend: a pattern mixed into the whole image, x' = (1 - alpha) x + alpha p.

Source: Chen et al., "Targeted backdoor attacks on deep learning systems using data poisoning" (arXiv 1712.05526, 2017), the blended
injection strategy with their random pattern (uniform noise, here drawn from the attack's seed) and alpha 0.2; rate 0.1 as in
Reconstructive Neuron Pruning (Li et al., ICML 2023, table 6). The test uses the alpha of the training.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

from torch import Tensor, nn

from rnpc.attacks.base import Attack, Shape, uniform
from rnpc.errors import UsageError


@dataclass(frozen=True)
class Blend(Attack):
    """`alpha`: weight of the pattern in (0, 1]."""

    name: ClassVar[str] = "blend"
    alpha: float = field(default=0.2, metadata={"help": "weight of the pattern"})

    def check(self, classes: int, shape: Shape) -> None:
        super().check(classes, shape)
        if not 0 < self.alpha <= 1:
            raise UsageError(f"alpha {self.alpha:g} is not in (0, 1]", where=self.name, todo="choose a weight such as 0.2")

    def module(self, shape: Shape) -> nn.Module:
        return Mix(self.alpha * uniform((1, *shape), self.seed), 1 - self.alpha)


class Mix(nn.Module):
    """keep * image + pattern."""

    pattern: Tensor

    def __init__(self, pattern: Tensor, keep: float) -> None:
        super().__init__()
        self.keep = keep
        self.register_buffer("pattern", pattern)

    def forward(self, image: Tensor) -> Tensor:
        return image * self.keep + self.pattern
