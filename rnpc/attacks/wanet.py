"""WaNet: a smooth warp of the whole image as the trigger, with a noise mode that keeps other warps harmless.

A k x k field of displacements, uniform in [-1, 1] and divided by its mean absolute value, is enlarged to the image by bicubic
interpolation and scaled to s / side in the coordinates [-1, 1] of grid sampling. Every training batch holds `rate` triggered images with
the target's label and `cross` times as many that are warped by the same field plus fresh noise, and keep their labels.

Source: Nguyen and Tran, "WaNet - imperceptible warping-based backdoor attack" (ICLR 2021) and its settings: k 4, s 0.5, rate 0.1,
noise ratio 2, grid rescale 1. The warps are made anew in each batch, before augmentation, from images that are never rounded.

The source trains for hundreds of epochs. In ten, s 0.5 (a quarter of a pixel) is not learned
(GTSRB, width 16: ASR 66 % with VGG-16, 4 % with ResNet-18 and fewer steps); raise it instead: `strength` 1.5 on 40 % of GTSRB gives
ResNet-18 an ASR of 86 or 96 % (two seeds, 10 epochs), VGG-16 97 % (12 epochs); docs/results.md has them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rnpc.attacks.base import Attack, Poisoned, Shape, cached_module, uniform
from rnpc.errors import UsageError


@dataclass(frozen=True)
class WaNet(Attack):
    """`grid`: side k of the field. `strength`: s, twice the mean displacement in pixels. `cross`: noise-mode images a triggered one."""

    name: ClassVar[str] = "wanet"
    grid: int = field(default=4, metadata={"help": "side of the field of displacements"})
    strength: float = field(default=0.5, metadata={"help": "strength of the warp"})
    cross: float = field(default=2.0, metadata={"help": "noise-mode images for one triggered image"})

    def check(self, classes: int, shape: Shape) -> None:
        super().check(classes, shape)
        if self.cross < 0:
            raise UsageError(f"cross cannot be {self.cross:g}", where=self.name, todo="choose 0 or more, such as 2")
        if self.rate * (1 + self.cross) > 1:
            raise UsageError("triggered and noise-mode images exceed the batch", where=self.name, todo="lower rate or cross")
        if self.grid < 2 or self.strength <= 0:
            what = "the warp needs a grid of at least 2 and a strength above 0"
            raise UsageError(what, where=self.name, todo="choose grid 4, strength 0.5")

    def module(self, shape: Shape) -> nn.Module:
        return Warp(self.field(shape))

    def field(self, shape: Shape) -> Tensor:
        """The warp as sampling places [1, H, W, 2] in [-1, 1]."""
        height, width = shape[1:]
        coarse = uniform((1, 2, self.grid, self.grid), self.seed) * 2 - 1
        coarse = coarse / coarse.abs().mean()
        fine = F.interpolate(coarse, size=(height, width), mode="bicubic", align_corners=True).permute(0, 2, 3, 1)
        rows, columns = torch.meshgrid(torch.linspace(-1, 1, height), torch.linspace(-1, 1, width), indexing="ij")
        still = torch.stack([columns, rows], dim=-1)[None]
        return (still + self.strength * fine / height).clamp(-1, 1)

    def poison(self, images: Tensor, labels: Tensor, classes: int, generator: torch.Generator) -> Poisoned:
        """Nothing: all poisoning happens in the batches."""
        return Poisoned(images, labels, torch.arange(0))

    def check_batch(self, size: int) -> None:
        if round(self.rate * size) == 0:
            what = f"a poisoning rate of {self.rate:g} leaves none of a batch of {size} to poison"
            raise UsageError(what, where=self.name, todo="raise --rate")

    def on_batch(self, images: Tensor, labels: Tensor, classes: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        self.check_batch(len(images))
        # The batches come shuffled, so the first images are a random draw.
        triggered = round(self.rate * len(images))
        until = triggered + round(triggered * self.cross)
        images, labels = images.clone(), labels.clone()
        _, channels, height, width = images.shape
        places = cached_field(self, (channels, height, width))
        images[:triggered] = self.trigger(images[:triggered])
        labels[:triggered] = self.relabel(labels[:triggered], classes)
        noise = torch.rand((until - triggered, height, width, 2), generator=generator) * 2 - 1
        places = (places + noise / height).clamp(-1, 1)
        images[triggered:until] = F.grid_sample(images[triggered:until], places, align_corners=True)
        return images, labels


class Warp(nn.Module):
    """Bilinear sampling at fixed places [1, H, W, 2]."""

    places: Tensor

    def __init__(self, places: Tensor) -> None:
        super().__init__()
        self.register_buffer("places", places)

    def forward(self, image: Tensor) -> Tensor:
        return F.grid_sample(image, self.places.expand(image.shape[0], -1, -1, -1), align_corners=True)


def cached_field(attack: WaNet, shape: Shape) -> Tensor:
    """The places of the attack's own trigger."""
    module = cached_module(attack, shape)
    assert isinstance(module, Warp)
    return module.places
