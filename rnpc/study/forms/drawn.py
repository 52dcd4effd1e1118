"""Drawn: x + b g(x) / rms(g(x)), where a small network g draws a change for each image. It costs b whatever it draws, so that there is no
cheaper one to look for: only how far it gets at that price.

What it finds no pattern finds that is one for all images: triggers that differ from image to image, and styles. The form is that of the
attacks' own generators (Nguyen and Tran, NeurIPS 2020; Doan et al., ICCV 2021).
"""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rnpc.study.forms.base import Change, Form, Parts, Shape

BUDGET = 0.04
"""Root mean square of the change, in [0, 1]: far too small for natural features."""
WIDTH = 16


class Generator(nn.Module):
    """A change of each image, [n, C, H, W] -> the same, of root mean square `budget` each."""

    def __init__(self, channels: int, budget: float = BUDGET) -> None:
        super().__init__()
        self.budget = budget
        self.first = nn.Conv2d(channels, WIDTH, 3, padding=1)
        self.down = nn.Conv2d(WIDTH, WIDTH, 3, stride=2, padding=1)
        self.inner = nn.Conv2d(WIDTH, WIDTH, 3, padding=1)
        self.last = nn.Conv2d(2 * WIDTH, channels, 3, padding=1)

    def forward(self, pixels: Tensor, budget: float = math.inf) -> Tensor:
        """The changed images, in [0, 1]; within a smaller budget where one is given."""
        near = F.relu(self.first(pixels))
        far = F.interpolate(F.relu(self.inner(F.relu(self.down(near)))), size=near.shape[2:], mode="nearest")
        change = torch.tanh(self.last(torch.cat([near, far], 1)))
        size = change.square().mean((1, 2, 3), keepdim=True).sqrt()
        return (pixels + change * (min(self.budget, budget) / size.clamp_min(1e-4))).clamp(0, 1)


@dataclass(frozen=True)
class Drawing(Change):
    """What a generator does within a budget. It hides nothing and adds no one pattern: `keep` is one and `shift` zero."""

    net: Generator | None = None
    budget: float = math.inf

    def __call__(self, pixels: Tensor) -> Tensor:
        """Changed pixels [n, C, H, W], in [0, 1]."""
        assert self.net is not None
        changed: Tensor = self.net(pixels, self.budget)
        return changed

    def detach(self) -> Drawing:
        """The same without its graph, as it is now."""
        return replace(self, net=copy.deepcopy(self.net).requires_grad_(False)) if self.net is not None else self


@dataclass(frozen=True)
class Drawn(Form):
    """See the module."""

    name: ClassVar[str] = "drawn"
    unit: ClassVar[str] = "root mean square of the change"
    rate: ClassVar[float] = 5e-3

    def parts(self, shape: Shape, noise: Tensor, generator: torch.Generator, device: torch.device) -> Parts:
        return _Parts(shape, int(torch.randint(2**31, (1,), generator=generator)), device)


class _Parts(Parts):
    def __init__(self, shape: Shape, seed: int, device: torch.device) -> None:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.net = Generator(shape[0]).to(device)
        self.leaves = list(self.net.parameters())
        self.one = torch.ones(1, 1, *shape[1:], device=device)

    def change(self, budget: float = math.inf) -> tuple[Change, Tensor]:
        cost = torch.tensor(min(budget, self.net.budget), dtype=torch.float64, device=self.one.device)
        return Drawing(self.one, torch.zeros_like(self.one), None, self.net, budget), cost
