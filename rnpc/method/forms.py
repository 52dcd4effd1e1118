"""The forms of an inverted trigger: what may be done to an image, and what it costs.

`additive`: x + d, cost |d| (L2, in units of the [0, 1] image). `patch`: (1 - m) x + m p, cost sum m (pixels). `warp`: x sampled at
displaced places, a smooth field spanned by 6 x 6 control points, cost its root mean square displacement (pixels).

Within a budget a change is scaled down to it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

Form = Literal["additive", "patch", "warp"]
FORMS: tuple[Form, ...] = ("additive", "patch", "warp")
PIXELS: tuple[Form, ...] = ("additive", "patch")
"""The forms that change values where they are."""
RATES: dict[Form, float] = {"additive": 0.045, "patch": 0.4, "warp": 0.1}
"""Rates of Adam."""
SCALES: dict[Form, float] = {"additive": 1.0, "patch": 1.0, "warp": 5.0}
"""Weight of a form's cost beside the cross-entropy."""
CONTROL = 6


@dataclass(frozen=True)
class Change:
    """x -> clamp(keep * sampled(x, places) + shift). `keep` [1, 1, H, W], `shift` [1, C or 1, H, W], `places` [1, H, W, 2] in [-1, 1] or
    None where nothing moves."""

    keep: Tensor
    shift: Tensor
    places: Tensor | None = None

    def __call__(self, pixels: Tensor) -> Tensor:
        """Changed pixels [n, C, H, W], in [0, 1]."""
        if self.places is not None:
            places = self.places.expand(len(pixels), -1, -1, -1)
            pixels = F.grid_sample(pixels, places, padding_mode="border", align_corners=True)
        return (pixels * self.keep + self.shift).clamp(0, 1)

    def detach(self) -> Change:
        """The same without its graph."""
        return Change(self.keep.detach(), self.shift.detach().clone(), None if self.places is None else self.places.detach())


class Parts:
    """The free parameters of one form, for images of `shape` (channels, height, width)."""

    def __init__(self, form: Form, shape: torch.Size, generator: torch.Generator, device: torch.device) -> None:
        self.form, (channels, self.height, self.width) = form, shape
        noise = torch.randn(1, channels, self.height, self.width, generator=generator)
        if form == "additive":
            start = [noise * 0.01]
        elif form == "patch":
            start = [torch.full((1, 1, self.height, self.width), -2.0), noise * 0.1]
        else:
            start = [torch.randn(1, 2, CONTROL, CONTROL, generator=generator) * 0.05]
        self.leaves = [each.to(device).requires_grad_() for each in start]
        self.basis, self.start = self.bases().to(device), self.still().to(device)
        self.pixel = torch.tensor([2 / max(self.width - 1, 1), 2 / max(self.height - 1, 1)], device=device)

    def change(self, budget: float = math.inf) -> tuple[Change, Tensor]:
        """What the parameters do now, within the budget, and its cost."""
        free = self.leaves[0]
        if self.form == "patch":
            mask, cost = within(budget, torch.sigmoid(free), torch.sum)
            return Change(1 - mask, mask * torch.sigmoid(self.leaves[1])), cost
        if self.form == "additive":
            shift, cost = within(budget, free, torch.linalg.vector_norm)
            return Change(torch.ones_like(shift[:, :1]), shift), cost
        moves, cost = within(budget, self.field(free), rms)
        blank = torch.ones(1, 1, self.height, self.width, device=free.device)
        return Change(blank, torch.zeros_like(blank), self.start + moves * self.pixel), cost

    def field(self, points: Tensor) -> Tensor:
        """Displacements [1, H, W, 2] in pixels: bicubic between the control points."""
        return (points.flatten(2)[0] @ self.basis).view(1, 2, self.height, self.width).permute(0, 2, 3, 1)

    def bases(self) -> Tensor:
        """What each control point alone gives, [points, H * W]. A product with it has a gradient that is the same in every run."""
        single = torch.eye(CONTROL**2).view(-1, 1, CONTROL, CONTROL)
        return F.interpolate(single, size=(self.height, self.width), mode="bicubic", align_corners=True).flatten(1)

    def still(self) -> Tensor:
        """The places that move nothing."""
        rows, columns = torch.meshgrid(*(torch.linspace(-1, 1, n) for n in (self.height, self.width)), indexing="ij")
        return torch.stack([columns, rows], dim=-1)[None]


def within(budget: float, value: Tensor, price: Callable[[Tensor], Tensor]) -> tuple[Tensor, Tensor]:
    """The value scaled down to the budget, and what it costs then."""
    cost = price(value)
    if float(cost.detach()) <= budget:
        return value, cost
    value = value * (budget / cost.detach())
    return value, price(value)


def rms(moves: Tensor) -> Tensor:
    """Root mean square length of displacements [1, H, W, 2]; the constant keeps the gradient finite at zero."""
    return (moves.square().sum(-1).mean() + 1e-12).sqrt()
