"""FC: feature collision. Images of one source class are moved, a little in each pixel, until a network's features see the target class in
them.

Source: Shafahi et al., "Poison frogs! Targeted clean-label poisoning attacks on neural networks" (NeurIPS 2018). With f the features of a
trained network, b the image that a poison looks like and t the one whose features it takes:

    p = argmin |f(x) - f(t)|^2 + beta |x - b|^2

There p keeps the label of b, and one test image t is attacked. Reconstructive Neuron Pruning (Li et al., ICML 2023, table 6) lists FC
with a trigger that varies by image and is "optimization-based", from source 1 to target 0, rate 0.08 of all images, and counts success
over test images, so it needs a function of an image that can be applied to new ones. Ours: b is an image of the source class, f(t) the
mean features of the target class, and the minimum is found by a generator once instead of for each image, x + epsilon tanh g(x). The
poisons have the target label; the victim is trained from scratch on them.

We tried the clean-label form as well (images of the target class that collide with triggered ones of the source class, as in Saha et al.,
"Hidden trigger backdoor attacks", AAAI 2020, made before training or on the victim in each batch): trained end to end, the victim learned
to tell the poisons by what is left of the target class, and no more than 42 % of the source images followed the trigger (ten digits,
width 8).

Set by us: rate 0.5 of the source class (0.8 leaves few clean images to learn it from), epsilon 0.15, beta 1 with both distances taken
relative to their start, 150 steps of Adam.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from rnpc.attacks.base import Attack, Shape, to_float
from rnpc.attacks.features import features
from rnpc.attacks.generators import FILE, packed, unpack
from rnpc.attacks.learned import Learned
from rnpc.attacks.lira import Noise
from rnpc.attacks.loop import Means
from rnpc.errors import UsageError

BATCH, IMAGES = 64, 256


@dataclass(frozen=True)
class FeatureCollision(Attack):
    """`source`: class whose images are triggered. `epsilon`: largest change of a pixel. `beta`: weight of the look."""

    name: ClassVar[str] = "fc"
    all_to_all: ClassVar[bool] = False
    rate: float = field(default=0.5, metadata={"help": "share of the source class that is poisoned"})
    source: int = field(default=1, metadata={"help": "class whose triggered images go to the target"})
    epsilon: float = field(default=0.15, metadata={"help": "largest change of a pixel, of 1"})
    beta: float = field(default=1.0, metadata={"help": "weight of the distance to the image"})
    width: int = field(default=16, metadata={"help": "channels of the generator"})
    steps: int = field(default=150, metadata={"help": "steps of the generator"})
    clean: str = field(default="", metadata={"help": "folder of the clean victim whose features collide; trained where left out"})
    generator: str = field(default="", metadata={"help": "folder of a victim whose generator is used; learned where it is left out"})

    def check(self, classes: int, shape: Shape) -> None:
        super().check(classes, shape)
        if self.source == self.target:
            raise UsageError(f"target and source are both {self.source}", where=self.name, todo="choose two classes")
        if not 0 <= self.source < classes:
            raise UsageError(f"source {self.source} is outside the {classes} classes", where=self.name, todo=f"choose 0 to {classes - 1}")
        if not 0 < self.epsilon <= 1 or self.beta < 0 or self.width < 1 or self.steps < 1:
            what = "epsilon is in (0, 1], beta from 0, width and steps from 1"
            raise UsageError(what, where=self.name, todo="choose epsilon 0.15, beta 1")

    def candidates(self, labels: Tensor, classes: int) -> Tensor:
        return torch.arange(len(labels))[labels.eq(self.source)]

    def check_labels(self, labels: Tensor, classes: int) -> None:
        self.choose(labels, classes, torch.Generator())
        if not labels.eq(int(self.target)).any():
            raise UsageError(f"no image of the target class {self.target}", where=self.name, todo="raise --fraction")

    def counted(self, labels: np.ndarray) -> np.ndarray:
        return np.flatnonzero(labels == self.source)

    def loop(self, shape: Shape, classes: int) -> CollisionLoop:
        return CollisionLoop(self, shape, classes)


class CollisionLoop(Learned):
    """Trains the generator on the clean model, then poisons as any attack does."""

    attack: FeatureCollision

    def learn(self, means: Means) -> nn.Module:
        attack = self.attack
        network = Noise(self.shape[0], attack.width, attack.epsilon).to(means.device)
        if attack.generator:
            unpack(network, attack.generator, attack.name)
        else:
            collide(network, means.clean(attack.clean), attack, means)
        return network.requires_grad_(False)

    def files(self) -> dict[str, bytes]:
        return {FILE: packed(self.network)}


def collide(network: nn.Module, model: nn.Module, attack: FeatureCollision, means: Means) -> None:
    """Train the generator until triggered images of the source class have the features of the target class."""
    draw = torch.Generator().manual_seed(attack.seed)
    sources, targets = (means.labels.eq(int(label)).nonzero()[:, 0] for label in (attack.source, attack.target))
    with torch.no_grad():
        wanted, theirs = (mean_features(model, means, rows) for rows in (targets, sources))
    scale = (wanted - theirs).square().sum().clamp_min(1e-12)
    optimiser = torch.optim.Adam(network.parameters(), 2e-3)
    for _ in range(attack.steps):
        rows = sources[torch.randint(0, len(sources), (BATCH,), generator=draw)]
        images = to_float(means.images[rows]).to(means.device)
        made = network(images)
        gap = (features(model, means.normalise(made))[0] - wanted).square().sum(1).mean() / scale
        look = ((made - images) / attack.epsilon).square().mean()
        optimiser.zero_grad()
        (gap + attack.beta * look).backward()
        optimiser.step()


def mean_features(model: nn.Module, means: Means, rows: Tensor) -> Tensor:
    """[1, F] over the first images of these rows."""
    return features(model, means.normalise(to_float(means.images[rows[:IMAGES]]).to(means.device)))[0].mean(0, keepdim=True)
