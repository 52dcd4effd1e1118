"""CL: label-consistent. Images of the target class alone are poisoned and keep their label; adversarial noise makes them hard to
recognise, so that the network learns the grid in their corners instead.

Source: Turner, Tsipras and Madry, "Label-consistent backdoor attacks" (arXiv 1912.02771, 2019): projected gradient ascent within an
l-infinity ball (their epsilons are 8, 16 and 32 grey levels; 16 here) on a model trained by the attacker, then a pattern in all four
corners. Images at test time carry the corners alone. Reconstructive Neuron Pruning (Li et al., ICML 2023, table 6): grid and PGD noise,
rate 0.08 of all images, 80 % of the target class of ten equal ones, which is what `rate` says here.

Set by us: the noise is made on a plain clean model (`clean`: a folder, or trained first; the source's is adversarially trained), with 10
steps of 2.5 epsilon / 10; the grid is a checkerboard of 3 x 3 pixels, black and white, opaque.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor, nn

from rnpc.attacks.badnets import Patch
from rnpc.attacks.base import Attack, Poisoned, Shape, to_float, to_uint8
from rnpc.attacks.features import climb
from rnpc.attacks.loop import Loop
from rnpc.errors import UsageError

CHUNK = 256


@dataclass(frozen=True)
class LabelConsistent(Attack):
    """`rate`: share of the target class. `epsilon`: of the noise, in grey levels. `size`: side of each grid."""

    name: ClassVar[str] = "cl"
    all_to_all: ClassVar[bool] = False
    rate: float = field(default=0.8, metadata={"help": "share of the target class that is poisoned"})
    epsilon: float = field(default=16.0, metadata={"help": "largest change of a pixel in grey levels of 255"})
    steps: int = field(default=10, metadata={"help": "steps of projected gradient ascent"})
    size: int = field(default=3, metadata={"help": "side of the grid in each corner, in pixels"})
    clean: str = field(default="", metadata={"help": "folder of a clean victim; trained first where it is left out"})

    def check(self, classes: int, shape: Shape) -> None:
        super().check(classes, shape)
        if not 1 <= self.size <= min(shape[1:]) // 2:
            what = f"four grids of {self.size} pixels do not fit {shape[1]} x {shape[2]}"
            raise UsageError(what, where=self.name, todo="choose a smaller size")
        if self.epsilon <= 0 or self.steps < 1:
            raise UsageError("the noise needs epsilon above 0 and a step", where=self.name, todo="choose epsilon 16, steps 10")

    def candidates(self, labels: Tensor, classes: int) -> Tensor:
        return torch.arange(len(labels))[labels.eq(int(self.target))]

    def check_labels(self, labels: Tensor, classes: int) -> None:
        self.choose(labels, classes, torch.Generator())

    def module(self, shape: Shape) -> nn.Module:
        return Patch(*corners(shape, self.size))

    def loop(self, shape: Shape, classes: int) -> ConsistentLoop:
        return ConsistentLoop(self, shape, classes)


class ConsistentLoop(Loop):
    """Makes the noise when it poisons."""

    learns = True
    attack: LabelConsistent

    def poison(self, images: Tensor, labels: Tensor, generator: torch.Generator) -> Poisoned:
        chosen = self.attack.choose(labels, self.classes, generator)
        model, images = self.means.clean(self.attack.clean), images.clone()
        for rows in chosen.split(CHUNK):
            noisy = self.disguise(model, to_float(images[rows]), labels[rows])
            images[rows] = to_uint8(self.attack.trigger(noisy))
        return Poisoned(images, labels, chosen)

    def disguise(self, model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
        """Images that the model does not recognise."""
        device, attack = self.means.device, self.attack
        return climb(images.to(device), labels.to(device), model, self.means, attack.epsilon / 255, attack.steps).cpu()


def corners(shape: Shape, size: int) -> tuple[Tensor, Tensor]:
    """(mask [1, C, H, W], pattern) of a checkerboard in each corner."""
    mask, pattern = torch.zeros((1, *shape), dtype=torch.bool), torch.zeros((1, *shape))
    steps = torch.arange(size)
    grid = ((steps[:, None] + steps) % 2 == 0).float()
    for rows in (slice(0, size), slice(shape[1] - size, shape[1])):
        for columns in (slice(0, size), slice(shape[2] - size, shape[2])):
            mask[..., rows, columns], pattern[..., rows, columns] = True, grid
    return mask, pattern
