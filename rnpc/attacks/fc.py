"""FC: feature collision. Images of the target class keep their label and nearly their look, but a network sees triggered images of one
source class in them.

Source: Shafahi et al., "Poison frogs! Targeted clean-label poisoning attacks on neural networks" (NeurIPS 2018), with f the features of a
trained network, b an image of the target class and t one of the source class:

    p = argmin |f(x) - f(t)|^2 + beta |x - b|^2,      from the watermarked start gamma t + (1 - gamma) b

by forward-backward splitting; the victim is fine-tuned on the poisons from a trained network, end to end. Published: gamma 0.3 for
end-to-end training. There t is one test image, which the attack is about. A success rate over test images needs something that these have
in common, so t here carries a trigger as in Saha et al., "Hidden trigger backdoor attacks" (AAAI 2020): a random square, drawn from the
seed, that is shown on images of the source class at test time. Reconstructive Neuron Pruning (Li et al., ICML 2023, table 6): source 1,
target 0, rate 0.08 of all images, 80 % of the target class of ten, which is what `rate` says here.

Set by us: square of `size` 6; `gamma` 0.5, `beta` 0.05 per pixel distance, 20 steps along the normalised gradient; success counts on
images of the source class alone.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from rnpc.attacks.badnets import Patch
from rnpc.attacks.base import Attack, Poisoned, Shape, to_float, to_uint8, uniform
from rnpc.attacks.features import features
from rnpc.attacks.loop import Loop
from rnpc.errors import UsageError

CHUNK = 128


@dataclass(frozen=True)
class FeatureCollision(Attack):
    """`source`: class whose triggered images go to the target. `gamma`: opacity of the watermark. `beta`: weight of the look."""

    name: ClassVar[str] = "fc"
    all_to_all: ClassVar[bool] = False
    rate: float = field(default=0.8, metadata={"help": "share of the target class that is poisoned"})
    source: int = field(default=1, metadata={"help": "class whose triggered images go to the target"})
    size: int = field(default=6, metadata={"help": "side of the square in pixels"})
    gamma: float = field(default=0.5, metadata={"help": "opacity of the source image in the start of a poison"})
    beta: float = field(default=0.05, metadata={"help": "weight of the distance to the image that is poisoned"})
    reach: float = field(default=4.0, metadata={"help": "how far all steps go together, as a Euclidean distance of images in [0, 1]"})
    steps: int = field(default=20, metadata={"help": "steps of the collision"})
    clean: str = field(default="", metadata={"help": "folder of the clean victim to start from; trained first where it is left out"})

    def check(self, classes: int, shape: Shape) -> None:
        super().check(classes, shape)
        if self.source == self.target:
            raise UsageError(f"target and source are both {self.source}", where=self.name, todo="choose two classes")
        if not 0 <= self.source < classes:
            raise UsageError(f"source {self.source} is outside the {classes} classes", where=self.name, todo=f"choose 0 to {classes - 1}")
        if not 1 <= self.size <= min(shape[1:]) or not 0 <= self.gamma <= 1 or self.beta < 0 or self.steps < 0:
            what = f"the square fits {shape[1]} x {shape[2]}, gamma is in [0, 1], beta and steps from 0"
            raise UsageError(what, where=self.name, todo="choose size 6, gamma 0.5")

    def candidates(self, labels: Tensor, classes: int) -> Tensor:
        return torch.arange(len(labels))[labels.eq(int(self.target))]

    def check_labels(self, labels: Tensor, classes: int) -> None:
        self.choose(labels, classes, torch.Generator())
        if not labels.eq(self.source).any():
            raise UsageError(f"no image of the source class {self.source}", where=self.name, todo="raise --fraction")

    def counted(self, labels: np.ndarray) -> np.ndarray:
        return np.flatnonzero(labels == self.source)

    def module(self, shape: Shape) -> nn.Module:
        mask, pattern = torch.zeros((1, *shape), dtype=torch.bool), torch.zeros((1, *shape))
        mask[..., -self.size - 1 : -1, -self.size - 1 : -1] = True
        return Patch(mask, torch.where(mask, uniform((1, *shape), self.seed).round(), pattern))

    def loop(self, shape: Shape, classes: int) -> CollisionLoop:
        return CollisionLoop(self, shape, classes)


class CollisionLoop(Loop):
    """Makes the poisons on the clean model, and starts the victim from it."""

    learns = True
    pace = 0.3
    attack: FeatureCollision

    def poison(self, images: Tensor, labels: Tensor, generator: torch.Generator) -> Poisoned:
        chosen = self.attack.choose(labels, self.classes, generator)
        sources = torch.arange(len(labels))[labels.eq(self.attack.source)]
        pairs = sources[torch.randint(0, len(sources), (len(chosen),), generator=generator)]
        model, poisoned = self.means.clean(self.attack.clean), images.clone()
        for rows, others in zip(chosen.split(CHUNK), pairs.split(CHUNK), strict=True):
            shown = self.attack.trigger(to_float(images[others]))
            poisoned[rows] = to_uint8(self.collide(model, to_float(images[rows]), shown))
        return Poisoned(poisoned, labels, chosen)

    def collide(self, model: nn.Module, bases: Tensor, shown: Tensor) -> Tensor:
        """Images near `bases` in pixels with features near those of `shown`, float [n, C, H, W]."""
        attack, means = self.attack, self.means
        bases, shown = bases.to(means.device), shown.to(means.device)
        found = (1 - attack.gamma) * bases + attack.gamma * shown
        step = attack.reach / max(1, attack.steps)
        with torch.no_grad():
            wanted = features(model, means.normalise(shown))[0]
        for _ in range(attack.steps):
            found.requires_grad_(True)
            gap = (features(model, means.normalise(found))[0] - wanted).square().sum()
            (slope,) = torch.autograd.grad(gap, found)
            size = slope.flatten(1).norm(dim=1).clamp_min(1e-12).view(-1, 1, 1, 1)
            forward = found.detach() - step * slope / size
            # The backward step: the nearest point that pays for its distance to the base.
            found = ((forward + step * attack.beta * bases) / (1 + step * attack.beta)).clamp(0, 1)
        return found.detach().cpu()

    def begin(self, model: nn.Module) -> None:
        model.load_state_dict(self.means.clean(self.attack.clean).state_dict())
