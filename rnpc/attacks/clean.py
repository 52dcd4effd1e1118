"""No attack: a clean model trained by the same protocol, the one that every victim is compared with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from rnpc.attacks.base import Attack, Poisoned, Shape


@dataclass(frozen=True)
class Clean(Attack):
    """Has no trigger; its target and rate mean nothing."""

    name: ClassVar[str] = "none"
    rate: float = 0.0

    def check(self, classes: int, shape: Shape) -> None:
        """Everything fits."""

    def module(self, shape: Shape) -> None:
        return None

    def poison(self, images: Tensor, labels: Tensor, classes: int, generator: torch.Generator) -> Poisoned:
        return Poisoned(images, labels, torch.arange(0))
