"""What a form of trigger is: what may be done to an image, and what it costs.

An inversion needs three things of a form: free parameters to start from, what they do to an image now, and the cost of that in the form's
unit. Within a budget a change is scaled down to it.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

Shape = tuple[int, int, int]
"""Channels, height, width."""


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
            places = self.places.nan_to_num().expand(len(pixels), -1, -1, -1)  # torch's gradient of nan places ends the process
            pixels = F.grid_sample(pixels, places, padding_mode="border", align_corners=True)
        return (pixels * self.keep + self.shift).clamp(0, 1)

    def detach(self) -> Change:
        """The same without its graph."""
        return Change(self.keep.detach(), self.shift.detach().clone(), None if self.places is None else self.places.detach())


class Parts(ABC):
    """The free parameters of one form for images of one shape. Made by `Form.parts`."""

    leaves: list[Tensor]

    @abstractmethod
    def change(self, budget: float = math.inf) -> tuple[Change, Tensor]:
        """What the parameters do now, within the budget, and its cost (a scalar with gradients)."""


@dataclass(frozen=True)
class Form(ABC):
    """One form. `unit`: of its cost, in words; `rate`: of Adam; `weight`: of the cost beside the cross-entropy."""

    name: ClassVar[str]
    unit: ClassVar[str]
    rate: ClassVar[float]
    weight: ClassVar[float] = 1.0

    @abstractmethod
    def parts(self, shape: Shape, noise: Tensor, generator: torch.Generator, device: torch.device) -> Parts:
        """Parameters to start from. `noise`: standard normal [1, C, H, W], drawn from `generator` before."""


def start(form: Form, shape: Shape, generator: torch.Generator, device: torch.device) -> Parts:
    """Parameters of a form drawn from the generator. Every form draws the same noise first, so that starts are comparable."""
    return form.parts(shape, torch.randn(1, *shape, generator=generator), generator, device)


def within(budget: float, value: Tensor, price: Callable[[Tensor], Tensor]) -> tuple[Tensor, Tensor]:
    """The value scaled down to the budget, and what it costs then."""
    cost = price(value)
    if float(cost.detach()) <= budget:
        return value, cost
    value = value * (budget / cost.detach())
    return value, price(value)
