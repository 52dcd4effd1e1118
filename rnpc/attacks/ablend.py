"""A-Blend: adaptive blending. Training shows pieces of a blended pattern; some of these images keep their true label.

Source: Qi et al., "Revisiting the assumption of latent separability for backdoor defenses" (ICLR 2023), Adaptive-Blend: the image is cut
into 4 x 4 pieces, each poisoned image carries the pattern in a random half of them, and as many more images ("cover", regularisation
samples) carry it so and keep their label, so that the features of poisoned images are not apart from others. The whole pattern is shown
at test time, and blended more strongly than in training. Published: rates of poisoned and regularisation samples 0.003 each (their
release: 0.005), alpha 0.15 in training and 0.2 at test. Reconstructive Neuron Pruning (Li et al., ICML 2023, table 6): rate 0.1.

Set by us: the rate of 0.1 of Reconstructive Neuron Pruning, a random pattern drawn from the seed (the source's is a picture), `alpha` 0.2
in training too (`test` 0.25), since a few epochs do not learn what 100 do; `cover` regularisation samples for one poisoned image, 0.5.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rnpc.attacks.base import Attack, Poisoned, Shape, to_float, to_uint8, uniform
from rnpc.attacks.blend import Mix
from rnpc.errors import UsageError


@dataclass(frozen=True)
class AdaptiveBlend(Attack):
    """`alpha`, `test`: weight of the pattern in training and afterwards. `pieces`: along a side. `shown`: share of them in a poisoned
    image. `cover`: regularisation samples for one poisoned image."""

    name: ClassVar[str] = "a-blend"
    all_to_all: ClassVar[bool] = False
    alpha: float = field(default=0.2, metadata={"help": "weight of the pattern in training"})
    test: float = field(default=0.25, metadata={"help": "weight of the pattern afterwards"})
    pieces: int = field(default=4, metadata={"help": "pieces along a side"})
    shown: float = field(default=0.5, metadata={"help": "share of the pieces that a poisoned image shows"})
    cover: float = field(default=0.5, metadata={"help": "images that show pieces and keep their label, for one that is relabelled"})

    def check(self, classes: int, shape: Shape) -> None:
        super().check(classes, shape)
        for key in ("alpha", "test", "shown"):
            if not 0 < getattr(self, key) <= 1:
                raise UsageError(f"{key} {getattr(self, key):g} is not in (0, 1]", where=self.name, todo="choose a share such as 0.2")
        if not 1 <= self.pieces <= min(shape[1:]):
            raise UsageError(f"{self.pieces} pieces do not fit {shape[1]} x {shape[2]}", where=self.name, todo="choose 4")
        if self.cover < 0 or self.rate * (1 + self.cover) > 1:
            raise UsageError("poisoned and regularisation samples exceed the images", where=self.name, todo="lower rate or cover")

    def module(self, shape: Shape) -> nn.Module:
        return Mix(self.test * self.pattern(shape), 1 - self.test)

    def pattern(self, shape: Shape) -> Tensor:
        """[1, C, H, W] in [0, 1]."""
        return uniform((1, *shape), self.seed)

    def poison(self, images: Tensor, labels: Tensor, classes: int, generator: torch.Generator) -> Poisoned:
        chosen = self.choose(labels, classes, generator)
        rest = torch.ones(len(labels), dtype=torch.bool)
        rest[chosen] = False
        others = rest.nonzero()[:, 0]
        cover = others[torch.randperm(len(others), generator=generator)[: round(self.cover * len(chosen))]]
        changed = torch.cat([chosen, cover])
        images, taught = images.clone(), labels.clone()
        images[changed] = to_uint8(self.pieced(to_float(images[changed]), generator))
        taught[chosen] = self.relabel(labels[chosen], classes)
        return Poisoned(images, taught, changed.sort().values)

    def pieced(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """Images [n, C, H, W] with the pattern in a random share of the pieces."""
        count, channels, height, width = images.shape
        cells = self.pieces**2
        order = torch.rand((count, cells), generator=generator).argsort(1).argsort(1)
        mask = (order < round(self.shown * cells)).float().view(count, 1, self.pieces, self.pieces)
        mask = F.interpolate(mask, size=(height, width))
        return images + self.alpha * mask * (self.pattern((channels, height, width)) - images)
