"""Adv-T: adaptive to the defense by adversarial training.

Source: Reconstructive Neuron Pruning (Li et al., ICML 2023, table 4) names "adversarial training (Adv-T)" and gives its results (ASR
73.36, CA 88.56), not its form. Two forms, by `against`:

    images    min over w of max over |d| <= epsilon of CE(f_w(x + d), y), one step from a random start, on clean and triggered images
              alike: the usual meaning of the name (Wong, Rice and Kolter, "Fast is better than free", ICLR 2020)
    weights   min over w of CE(f_{w + r}(x), y), r = rho |w| g / |g| in each layer, g the gradient of the loss on clean images: the victim
              is trained at the place to which a step of the defense's own unlearning takes it, so that unlearning separates less

The trigger is the grid of BadNets, in a share `rate` of each batch. Set by us: epsilon 4 grey levels, step 1.25 epsilon, rho 0.02.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rnpc.attacks.badnets import BadNets
from rnpc.attacks.base import Shape
from rnpc.attacks.batches import InBatches
from rnpc.attacks.loop import Loop
from rnpc.errors import UsageError

WAYS = ("images", "weights")


@dataclass(frozen=True)
class AdvT(InBatches, BadNets):
    """`against`: `images` or `weights`. `epsilon`: of images, in grey levels. `rho`: of weights, relative to a layer's own size."""

    name: ClassVar[str] = "adv-t"
    all_to_all: ClassVar[bool] = False
    against: str = field(default="images", metadata={"help": "what is perturbed in training: images or weights"})
    epsilon: float = field(default=4.0, metadata={"help": "largest change of a pixel in grey levels of 255"})
    rho: float = field(default=0.02, metadata={"help": "change of a layer's weights, relative to their size"})

    def check(self, classes: int, shape: Shape) -> None:
        super().check(classes, shape)
        if self.against not in WAYS:
            raise UsageError(f"against cannot be {self.against!r}", where=self.name, todo=f"choose one of {', '.join(WAYS)}")
        if self.epsilon <= 0 or self.rho <= 0:
            raise UsageError("epsilon and rho are above 0", where=self.name, todo="choose epsilon 4, rho 0.02")

    def loop(self, shape: Shape, classes: int) -> AdversaryLoop:
        return AdversaryLoop(self, shape, classes)


class AdversaryLoop(Loop):
    """`moved`: what was added to each parameter, until the gradients are there."""

    learns = True
    attack: AdvT
    draw: torch.Generator
    moved: dict[str, Tensor]

    def begin(self, model: nn.Module) -> None:
        self.moved = {}

    def on_batch(self, images: Tensor, labels: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        self.draw = generator
        return super().on_batch(images, labels, generator)

    def loss(self, model: nn.Module, inputs: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        if self.attack.against == "weights":
            count = self.attack.count(len(inputs))
            self.ascend(model, F.cross_entropy(model(inputs[count:]), labels[count:]))
        else:
            inputs = self.worst(model, inputs, labels)
        scores = model(inputs)
        return F.cross_entropy(scores, labels), scores

    def worst(self, model: nn.Module, inputs: Tensor, labels: Tensor) -> Tensor:
        """Normalised inputs, moved within epsilon against their labels; still those of images in [0, 1]."""
        mean, std = self.means.mean, self.means.std
        ball = self.attack.epsilon / 255 / std
        start = torch.rand(inputs.shape, generator=self.draw).to(inputs.device) * 2 - 1
        near = (inputs + ball * start).detach().requires_grad_(True)
        (slope,) = torch.autograd.grad(F.cross_entropy(model(near), labels), near)
        moved = torch.minimum(torch.maximum(near.detach() + 1.25 * ball * slope.sign(), inputs - ball), inputs + ball)
        # Real images fill [0, 1]; shifted ones hold black, which is there too.
        return torch.minimum(torch.maximum(moved, -mean / std), (1 - mean) / std)

    def ascend(self, model: nn.Module, loss: Tensor) -> None:
        """Move each parameter along its gradient."""
        named = dict(model.named_parameters())
        slopes = torch.autograd.grad(loss, list(named.values()))
        with torch.no_grad():
            for (name, parameter), slope in zip(named.items(), slopes, strict=True):
                self.moved[name] = self.attack.rho * parameter.norm() * slope / slope.norm().clamp_min(1e-12)
                parameter.add_(self.moved[name])

    @torch.no_grad()
    def backward_done(self, model: nn.Module) -> None:
        for name, parameter in model.named_parameters():
            if name in self.moved:
                parameter.sub_(self.moved.pop(name))
