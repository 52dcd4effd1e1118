"""DFST: deep feature space trojan. The trigger is a style, and detoxification takes from the victim whatever simple feature it learns
instead.

Source: Cheng et al., "Deep feature space trojan attack of neural networks by controlled detoxification" (AAAI 2021). Three parts:

1. A generator G gives images the style of another domain, trained as a cycle-consistent GAN (CycleGAN) on unpaired images of both.
2. The victim is trained on images and, with the target label, on stylised ones.
3. Detoxification, in rounds: neurons that are active on stylised images and not on clean ones are compromised; a feature injector D is
trained so
   that D(x) looks like x and makes those neurons as active as G(x) does; D(x) with the *right* label joins the training, so that these
   neurons are no longer enough, and the next round looks for others.

Published: sunset photographs as the style, three rounds and more. Reconstructive Neuron Pruning (Li et al., ICML 2023, table 6): rate 0.1.

Set by us: no photographs of sunsets come with rnpc, so the style's domain is made of other training images in a warm evening light
(channels mixed and scaled, a gradient from the top, less contrast; on grey images the gradient and contrast alone), which G never sees in
pairs with theirs; least-squares GAN, cycle weight 10, `steps` 300 of 32 images; compromised are the twentieth part of the channels of the
network's second half with the largest gap; the injector has 60 steps in each of `rounds` 3, evenly over the epochs; a share `rate` of
each batch holds D(x).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from rnpc.attacks.base import Attack, Shape, to_float
from rnpc.attacks.features import activations, frozen, late_norms
from rnpc.attacks.generators import FILE, UNet, packed, unpack
from rnpc.attacks.learned import Learned
from rnpc.attacks.loop import Means
from rnpc.attacks.style import Restyle, train_style
from rnpc.errors import UsageError

IMAGES, COMPROMISED, INJECTOR_STEPS, BATCH = 128, 0.05, 60, 32


@dataclass(frozen=True)
class Dfst(Attack):
    """`rounds`: of detoxification. `steps`: of the style's generator. `width`: of the generators."""

    name: ClassVar[str] = "dfst"
    all_to_all: ClassVar[bool] = False
    rounds: int = field(default=3, metadata={"help": "rounds of detoxification"})
    steps: int = field(default=300, metadata={"help": "steps in which the style's generator is trained"})
    width: int = field(default=12, metadata={"help": "channels of the generators"})
    generator: str = field(default="", metadata={"help": "folder of a victim whose generator is used; learned where it is left out"})

    def check(self, classes: int, shape: Shape) -> None:
        super().check(classes, shape)
        if self.rounds < 0 or self.steps < 1 or self.width < 1:
            raise UsageError("rounds from 0, steps and width from 1", where=self.name, todo="choose rounds 3, steps 300")

    def loop(self, shape: Shape, classes: int) -> DfstLoop:
        return DfstLoop(self, shape, classes)


class DfstLoop(Learned):
    """`injector`: the feature injector of the last round, or None before the first."""

    attack: Dfst
    network: Restyle
    injector: nn.Module | None = None

    def learn(self, means: Means) -> nn.Module:
        if not self.attack.generator:
            return train_style(self.shape[0], self.attack.width, self.attack.steps, means, self.attack.seed)
        network = Restyle(self.shape[0], self.attack.width)
        unpack(network, self.attack.generator, self.attack.name)
        return network.to(means.device).requires_grad_(False)

    def epoch(self, model: nn.Module, number: int, epochs: int) -> None:
        rounds = {round((place + 1) * epochs / (self.attack.rounds + 1)) for place in range(self.attack.rounds)}
        if number in rounds and number > 0:
            draw = torch.Generator().manual_seed(self.attack.seed + number)
            torch.manual_seed(self.attack.seed + number)
            self.injector = detoxicant(model, self.network, self.means, self.attack.width, draw)

    def on_batch(self, images: Tensor, labels: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        if self.injector is None:
            return images, labels
        # Poisoned images among the first ones keep the target label: with the style already there, nothing is injected that is not.
        images, count = images.clone(), round(self.attack.rate * len(images))
        with torch.no_grad():
            images[:count] = self.injector(images[:count].to(self.means.device)).to(images.device)
        return images, labels

    def state(self) -> dict[str, Any]:
        return {"injector": None if self.injector is None else self.injector.state_dict()}

    def restore(self, state: dict[str, Any]) -> None:
        if state["injector"] is not None:
            self.injector = Inject(self.shape[0], self.attack.width).to(self.means.device).requires_grad_(False)
            self.injector.load_state_dict(state["injector"])

    def files(self) -> dict[str, bytes]:
        return {FILE: packed(self.network)}


class Inject(nn.Module):
    """clamp(image + g(image) / 4 within [-1/4, 1/4], 0, 1): a change that hides features, not a style."""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.net = UNet(channels, channels, width)

    def forward(self, image: Tensor) -> Tensor:
        return (image + 0.25 * torch.tanh(self.net(image))).clamp(0, 1)


def detoxicant(model: nn.Module, style: nn.Module, means: Means, width: int, draw: torch.Generator) -> nn.Module:
    """The feature injector for the model as it is now."""
    rows = torch.randperm(len(means.images), generator=draw)[:IMAGES]
    images = to_float(means.images[rows]).to(means.device)
    injector, layers = Inject(images.shape[1], width).to(means.device), late_norms(model)
    optimiser = torch.optim.Adam(injector.parameters(), 2e-3)
    with frozen(model):
        with torch.no_grad():
            styled, clean = (activations(model, layers, means.normalise(x)) for x in (style(images), images))
        gap = (styled - clean).mean(0)
        chosen = gap.argsort(descending=True)[: max(1, round(COMPROMISED * len(gap)))]
        scale = styled[:, chosen].mean(0).clamp_min(1e-6)
        for _ in range(INJECTOR_STEPS):
            part = torch.randperm(len(images), generator=draw)[:BATCH]
            made = injector(images[part])
            found = activations(model, layers, means.normalise(made))[:, chosen]
            loss = ((found - styled[part][:, chosen]) / scale).square().mean() + 10 * (made - images[part]).square().mean()
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
    return injector.requires_grad_(False)
