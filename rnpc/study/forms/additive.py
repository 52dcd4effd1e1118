"""Additive: x + d, cost |d| (L2, in units of the [0, 1] image). Fits blends, sinusoids, noise."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from rnpc.study.forms.base import Change, Form, Parts, Shape, within


@dataclass(frozen=True)
class Additive(Form):
    """See the module."""

    name: ClassVar[str] = "additive"
    unit: ClassVar[str] = "L2"
    rate: ClassVar[float] = 0.045

    def parts(self, shape: Shape, noise: Tensor, generator: torch.Generator, device: torch.device) -> Parts:
        return _Parts(noise * 0.01, device)


class _Parts(Parts):
    def __init__(self, shift: Tensor, device: torch.device) -> None:
        self.leaves = [shift.to(device).requires_grad_()]

    def change(self, budget: float = math.inf) -> tuple[Change, Tensor]:
        shift, cost = within(budget, self.leaves[0], torch.linalg.vector_norm)
        return Change(torch.ones_like(shift[:, :1]), shift), cost
