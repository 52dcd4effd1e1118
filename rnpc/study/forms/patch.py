"""Patch: (1 - m) x + m p with a mask m in [0, 1] and a pattern p, cost sum m (pixels). Fits whatever replaces pixels."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from rnpc.study.forms.base import Change, Form, Parts, Shape, within


@dataclass(frozen=True)
class Patch(Form):
    """See the module."""

    name: ClassVar[str] = "patch"
    unit: ClassVar[str] = "pixels"
    rate: ClassVar[float] = 0.4

    def parts(self, shape: Shape, noise: Tensor, generator: torch.Generator, device: torch.device) -> Parts:
        return _Parts(torch.full((1, 1, *shape[1:]), -2.0), noise * 0.1, device)


class _Parts(Parts):
    def __init__(self, mask: Tensor, pattern: Tensor, device: torch.device) -> None:
        self.leaves = [mask.to(device).requires_grad_(), pattern.to(device).requires_grad_()]

    def change(self, budget: float = math.inf) -> tuple[Change, Tensor]:
        mask, cost = within(budget, torch.sigmoid(self.leaves[0]), torch.sum)
        return Change(1 - mask, mask * torch.sigmoid(self.leaves[1])), cost
