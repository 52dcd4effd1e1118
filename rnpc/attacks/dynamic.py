"""Dynamic: a generator gives each image a trigger of its own, which does not work on another image.

Source: Nguyen and Tran, "Input-aware dynamic backdoor attack" (NeurIPS 2020). With mask generator m and pattern generator p,
T(x, y) = x + m(y) (p(y) - x), and T(x) = T(x, x). The mask generator is trained first, for sparse masks that differ between images:
`norm` max(0, mean m - density) + L_div(m), L_div(g) = |x - y| / |g(x) - g(y)|. Then classifier and pattern generator are trained
together: of a batch a share `rate` is shown as T(x) with the target label (attack mode), `cross` times as many images as T(x, y) of
another image y with their true label (cross-trigger mode), plus `diversity` L_div(p). Published, and kept: diversity 1, norm 100, density
0.032, rate 0.1, as many cross-trigger images (`cross` 1), Adam for the generators. Masks are nearly binary: sigmoid(40 (sigmoid(u) -
0.5)), about their steepness.

Set by us: generators of three sizes with no BatchNorm and `width` channels, rate of Adam 2e-3 (theirs 1e-2 with BatchNorm; 5e-3 halved the
success here) that falls to 0 by four fifths of the epochs, 200 steps for the masks instead of 25 epochs.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rnpc.attacks.base import Attack, Shape
from rnpc.attacks.generators import UNet
from rnpc.attacks.learned import Generator
from rnpc.attacks.loop import Means
from rnpc.errors import UsageError

STEEP, LITTLE, BATCH, RATE = 40.0, 1e-3, 64, 2e-3


@dataclass(frozen=True)
class Dynamic(Attack):
    """`cross`: cross-trigger images for a triggered one. `density`: share of the pixels that masks may take. `diversity`: weight of L_div.
    `generator`: folder of a victim whose generator is used as it is, or ""."""

    name: ClassVar[str] = "dynamic"
    all_to_all: ClassVar[bool] = False
    cross: float = field(default=1.0, metadata={"help": "cross-trigger images for one triggered image"})
    density: float = field(default=0.032, metadata={"help": "share of the pixels that a mask may take"})
    diversity: float = field(default=1.0, metadata={"help": "weight of the diversity loss"})
    norm: float = field(default=100.0, metadata={"help": "weight of the masks' size"})
    width: int = field(default=16, metadata={"help": "channels of the generators"})
    steps: int = field(default=200, metadata={"help": "steps in which the mask generator is trained"})
    generator: str = field(default="", metadata={"help": "folder of a victim whose generator is used; learned where it is left out"})

    def check(self, classes: int, shape: Shape) -> None:
        super().check(classes, shape)
        if self.cross < 0 or self.rate * (1 + self.cross) > 1:
            raise UsageError("triggered and cross-trigger images exceed the batch", where=self.name, todo="lower rate or cross")
        if not 0 < self.density < 1 or self.width < 1 or self.steps < 0:
            raise UsageError("density is in (0, 1), width from 1, steps from 0", where=self.name, todo="choose density 0.032")

    def check_batch(self, size: int) -> None:
        if round(self.rate * size) < 2:
            what = f"a poisoning rate of {self.rate:g} leaves fewer than two of a batch of {size} to poison"
            raise UsageError(what, where=self.name, todo="raise --rate")

    def loop(self, shape: Shape, classes: int) -> DynamicLoop:
        return DynamicLoop(self, shape, classes)


class Aware(nn.Module):
    """T, from a mask and a pattern generator."""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.masks, self.patterns = UNet(channels, 1, width), UNet(channels, channels, width)

    def mask(self, image: Tensor) -> Tensor:
        return torch.sigmoid(STEEP * (torch.sigmoid(self.masks(image)) - 0.5))

    def pattern(self, image: Tensor) -> Tensor:
        return torch.sigmoid(self.patterns(image))

    def forward(self, image: Tensor) -> Tensor:
        return image + self.mask(image) * (self.pattern(image) - image)


class DynamicLoop(Generator):
    """`extra`: the diversity loss of the batch that is being learned."""

    attack: Dynamic
    network: Aware
    extra: Tensor

    def learn(self, means: Means) -> nn.Module:
        network = Aware(self.shape[0], self.attack.width).to(means.device)
        if not self.given(self.attack.generator, network):
            train_masks(network, self.attack, means)
        network.masks.requires_grad_(False)
        self.optimiser = torch.optim.Adam(network.patterns.parameters(), RATE)
        return network

    def epoch(self, model: nn.Module, number: int, epochs: int) -> None:
        # The generator comes to rest before the classifier does, or the last steps would learn a trigger that has moved on.
        for group in self.optimiser.param_groups:
            group["lr"] = RATE * max(0.0, 1 - number / (0.8 * epochs))

    def on_batch(self, images: Tensor, labels: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        images, labels = images.to(self.means.device), labels.clone()
        count = round(self.attack.rate * len(images))
        crossed = round(self.attack.cross * count)
        # The batches come shuffled, so the first images are a random draw, and the last ones are others.
        own, other = images[:count], images[count : count + crossed]
        foreign = images[-crossed:] if crossed else other
        patterns = self.network.pattern(torch.cat([own, foreign]))
        masks = self.network.mask(torch.cat([own, foreign]))
        shown = torch.cat([own, other])
        shown = shown + masks * (patterns - shown)
        labels[:count] = self.attack.relabel(labels[:count], self.classes)
        self.extra = self.attack.diversity * unlike(own, patterns[:count])
        return torch.cat([shown, images[len(shown) :]]), labels

    def loss(self, model: nn.Module, inputs: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        scores = model(inputs)
        return F.cross_entropy(scores, labels) + self.extra, scores

    def stepped(self, model: nn.Module) -> None:
        self.optimiser.step()
        self.optimiser.zero_grad()


def unlike(images: Tensor, made: Tensor) -> Tensor:
    """L_div: how far images lie apart, relative to what was made of them, in pairs of neighbours; small where outputs differ."""
    far = (images - images.roll(1, 0)).square().mean((1, 2, 3)).add(1e-8).sqrt()
    near = (made - made.roll(1, 0)).square().mean((1, 2, 3)).add(1e-8).sqrt()
    return (far / (near + LITTLE)).mean()


def train_masks(network: Aware, attack: Dynamic, means: Means) -> None:
    """The mask generator, before anything else."""
    draw = torch.Generator().manual_seed(attack.seed)
    optimiser = torch.optim.Adam(network.masks.parameters(), RATE)
    for _ in range(attack.steps):
        images = means.batch(BATCH, draw)
        masks = network.mask(images)
        loss = attack.norm * F.relu(masks.mean((1, 2, 3)) - attack.density).mean() + attack.diversity * unlike(images, masks)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
