"""Warp: x sampled at displaced places, a smooth field spanned by 6 x 6 control points, cost its root mean square displacement (pixels)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from rnpc.study.forms.base import Change, Form, Parts, Shape, within

CONTROL = 6


@dataclass(frozen=True)
class Warp(Form):
    """See the module."""

    name: ClassVar[str] = "warp"
    unit: ClassVar[str] = "pixels of displacement"
    rate: ClassVar[float] = 0.1
    weight: ClassVar[float] = 5.0

    def parts(self, shape: Shape, noise: Tensor, generator: torch.Generator, device: torch.device) -> Parts:
        return _Parts(torch.randn(1, 2, CONTROL, CONTROL, generator=generator) * 0.05, shape, device)


class _Parts(Parts):
    def __init__(self, points: Tensor, shape: Shape, device: torch.device) -> None:
        self.leaves, (_, self.height, self.width) = [points.to(device).requires_grad_()], shape
        self.basis, self.still = bases(self.height, self.width).to(device), still(self.height, self.width).to(device)
        self.pixel = torch.tensor([2 / max(self.width - 1, 1), 2 / max(self.height - 1, 1)], device=device)

    def change(self, budget: float = math.inf) -> tuple[Change, Tensor]:
        moves, cost = within(budget, self.field(), rms)
        blank = torch.ones(1, 1, self.height, self.width, device=moves.device)
        return Change(blank, torch.zeros_like(blank), self.still + moves * self.pixel), cost

    def field(self) -> Tensor:
        """Displacements [1, H, W, 2] in pixels: bicubic between the control points."""
        return (self.leaves[0].flatten(2)[0] @ self.basis).view(1, 2, self.height, self.width).permute(0, 2, 3, 1)


def bases(height: int, width: int) -> Tensor:
    """What each control point alone gives, [points, H * W]. A product with it has a gradient that is the same in every run."""
    single = torch.eye(CONTROL**2).view(-1, 1, CONTROL, CONTROL)
    return F.interpolate(single, size=(height, width), mode="bicubic", align_corners=True).flatten(1)


def still(height: int, width: int) -> Tensor:
    """The places that move nothing, [1, H, W, 2]."""
    rows, columns = torch.meshgrid(*(torch.linspace(-1, 1, n) for n in (height, width)), indexing="ij")
    return torch.stack([columns, rows], dim=-1)[None]


def rms(moves: Tensor) -> Tensor:
    """Root mean square length of displacements [1, H, W, 2]; the constant keeps the gradient finite at zero."""
    return (moves.square().sum(-1).mean() + 1e-12).sqrt()
