"""LIRA: a trigger generator and the classifier, trained against each other in two stages.

Source: Doan et al., "LIRA: learnable, imperceptible and robust backdoor attacks" (ICCV 2021): T(x) = clamp(x + epsilon g(x)), |g| <= 1, and
min over f, g of alpha CE(f(x), y) + (1 - alpha) CE(f(T(x)), target). In the first stage generator and classifier change together; in the
second the generator is fixed, and the classifier is fine-tuned. The published release: alpha 0.5, epsilon 0.1 in the first stage and 0.01
(MNIST) or 0.1 (CIFAR-10) in the second, 10 to 50 epochs each. Reconstructive Neuron Pruning (Li et al., ICML 2023, table 6): rate 0.1.

Set by us: epsilon is one value, in [0, 1], default 0.1 (25 grey levels at most); a share `rate` of each batch is triggered and the rest is
clean, so that alpha is 1 - rate, 0.9; the first stage takes a share `stage` of the epochs; the generator has no BatchNorm, and steps at
the same time as the classifier (the source: in turns, on the same loss).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor, nn

from rnpc.attacks.base import Shape
from rnpc.attacks.batches import InBatches
from rnpc.attacks.generators import UNet
from rnpc.attacks.learned import Generator
from rnpc.attacks.loop import Means
from rnpc.errors import UsageError


@dataclass(frozen=True)
class Lira(InBatches):
    """`epsilon`: largest change of a pixel. `stage`: share of the epochs of the first stage. `width`: of the generator."""

    name: ClassVar[str] = "lira"
    all_to_all: ClassVar[bool] = False
    rate: float = field(default=0.1, metadata={"help": "share of each batch that is triggered"})
    epsilon: float = field(default=0.1, metadata={"help": "largest change of a pixel, of 1"})
    stage: float = field(default=0.6, metadata={"help": "share of the epochs in which the generator changes"})
    width: int = field(default=16, metadata={"help": "channels of the generator"})
    generator: str = field(default="", metadata={"help": "folder of a victim whose generator is used; learned where it is left out"})

    def check(self, classes: int, shape: Shape) -> None:
        super().check(classes, shape)
        if not 0 < self.epsilon <= 1 or not 0 < self.stage <= 1 or self.width < 1:
            raise UsageError("epsilon and stage are in (0, 1], width from 1", where=self.name, todo="choose epsilon 0.1, stage 0.6")

    def loop(self, shape: Shape, classes: int) -> LiraLoop:
        return LiraLoop(self, shape, classes)


class Noise(nn.Module):
    """clamp(image + epsilon tanh(g(image)), 0, 1)."""

    def __init__(self, channels: int, width: int, epsilon: float) -> None:
        super().__init__()
        self.epsilon, self.net = epsilon, UNet(channels, channels, width)

    def forward(self, image: Tensor) -> Tensor:
        return (image + self.epsilon * torch.tanh(self.net(image))).clamp(0, 1)


class LiraLoop(Generator):
    """The generator steps in the first stage only."""

    attack: Lira
    first = True

    def learn(self, means: Means) -> nn.Module:
        network = Noise(self.shape[0], self.attack.width, self.attack.epsilon).to(means.device)
        self.given(self.attack.generator, network)
        self.optimiser = torch.optim.Adam(network.parameters(), 1e-3)
        return network

    def epoch(self, model: nn.Module, number: int, epochs: int) -> None:
        self.first = number < max(1, round(self.attack.stage * epochs)) and not self.attack.generator

    def on_batch(self, images: Tensor, labels: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        images, labels = images.to(self.means.device), labels.clone()
        count = self.attack.count(len(images))
        with torch.set_grad_enabled(self.first):
            shown = self.network(images[:count])
        labels[:count] = self.attack.relabel(labels[:count], self.classes)
        return torch.cat([shown, images[count:]]), labels

    def stepped(self, model: nn.Module) -> None:
        if self.first:
            self.optimiser.step()
            self.optimiser.zero_grad()
