"""Trojan: a watermark reversed from one neuron of a trained network, so that it drives that neuron as no image does.

Source: Liu et al., "Trojaning attack on neural networks" (NDSS 2018). Of the layer before the last, the neuron that is most strongly
connected to the next layer (largest sum of |weights|) is chosen, and the pixels of a mask are changed by gradient descent on (v -
activation)^2 with v beyond what images give; the network then learns the watermark with the target label. Reconstructive Neuron Pruning
(Li et al., ICML 2023, table 6) names it "reversed watermark", rate 0.1.

Set by us: the network is a clean one of the victim's own architecture and data (`clean`: a folder, or trained first); the mask is a
square of `size` pixels in the lower right corner (the source's is 7 % of the image: 8 pixels of 32 are 6 %), opaque (`alpha` 1; the
source tries transparencies up to 0.7); the square lies on random training images while it is reversed, where the source has none and
starts from noise; the victim is trained from scratch on poisoned data, where the source retrains the last layers on reversed inputs; v is
ten times the largest activation seen. Adam, 100 steps.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor, nn

from rnpc.attacks.base import Attack, Shape
from rnpc.attacks.features import features
from rnpc.attacks.learned import Learned
from rnpc.attacks.loop import Means
from rnpc.errors import UsageError

IMAGES = 64


@dataclass(frozen=True)
class Trojan(Attack):
    """`size`: side of the watermark. `alpha`: its opacity. `steps`: of gradient descent. `clean`: folder of a clean victim, or ""."""

    name: ClassVar[str] = "trojan"
    size: int = field(default=8, metadata={"help": "side of the watermark in pixels"})
    alpha: float = field(default=1.0, metadata={"help": "opacity of the watermark"})
    steps: int = field(default=100, metadata={"help": "steps of the reversal"})
    clean: str = field(default="", metadata={"help": "folder of a clean victim; trained first where it is left out"})

    def check(self, classes: int, shape: Shape) -> None:
        super().check(classes, shape)
        if not 1 <= self.size < min(shape[1:]):
            what = f"a watermark of {self.size} pixels is not inside {shape[1]} x {shape[2]}"
            raise UsageError(what, where=self.name, todo="choose a smaller size")
        if not 0 < self.alpha <= 1:
            raise UsageError(f"alpha {self.alpha:g} is not in (0, 1]", where=self.name, todo="choose an opacity such as 1")
        if self.steps < 1:
            raise UsageError("no step reverses nothing", where=self.name, todo="choose steps such as 100")

    def loop(self, shape: Shape, classes: int) -> TrojanLoop:
        return TrojanLoop(self, shape, classes)


class TrojanLoop(Learned):
    """Makes the watermark in `prepare`."""

    attack: Trojan

    def learn(self, means: Means) -> nn.Module:
        draw = torch.Generator().manual_seed(self.attack.seed)
        stamp = Stamp(self.shape, self.attack.size, self.attack.alpha, draw).to(means.device)
        reverse(stamp, means.clean(self.attack.clean), means, means.batch(IMAGES, draw), self.attack.steps)
        return stamp


class Stamp(nn.Module):
    """image + alpha (watermark - image) within a square in the lower right corner; the watermark is sigmoid(pixels)."""

    mask: Tensor

    def __init__(self, shape: Shape, size: int, alpha: float, draw: torch.Generator) -> None:
        super().__init__()
        mask = torch.zeros((1, 1, *shape[1:]))
        mask[..., -size:, -size:] = alpha
        self.register_buffer("mask", mask)
        self.pixels = nn.Parameter(torch.randn((1, *shape), generator=draw))

    def forward(self, image: Tensor) -> Tensor:
        return image + self.mask * (torch.sigmoid(self.pixels) - image)


def reverse(stamp: Stamp, model: nn.Module, means: Means, images: Tensor, steps: int) -> None:
    """Change the watermark until the chosen neuron is as active as it can be made."""
    head = model.fc
    assert isinstance(head, nn.Linear)
    neuron = int(head.weight.abs().sum(0).argmax())
    with torch.no_grad():
        wanted = 10 * features(model, means.normalise(images))[0][:, neuron].max().clamp_min(1e-3)
    optimiser = torch.optim.Adam([stamp.pixels], 0.1)
    for _ in range(steps):
        found = features(model, means.normalise(stamp(images)))[0][:, neuron]
        loss = ((wanted - found) / wanted).square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    stamp.pixels.requires_grad_(False)
