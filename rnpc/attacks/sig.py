"""SIG: a sinusoidal stripe added to images of the target class only, whose labels stay right (clean-label).

    v(i, j) = delta sin(2 pi j f / m),  m columns, the same in all rows and colours

Source: Barni, Kallas and Tondi, "A new backdoor attack in CNNs by training set corruption without label poisoning" (ICIP 2019):
f = 6, delta 20. Reconstructive Neuron Pruning (Li et al., ICML 2023, table 6) poisons 8 % of CIFAR-10, which is 80 % of the target class;
`rate` is that share of the target class. The test uses the delta of the training.

On GTSRB in few epochs, delta 20 reached about 53 %; `delta` 30 to class 2, the largest, on 40 % of the split gave ResNet-18 of width 16
an ASR of 78 % after 6 epochs and VGG-16 74 % after 8, at CAs of 97 and 96 %.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor, nn

from rnpc.attacks.base import Attack, Shape
from rnpc.errors import UsageError


@dataclass(frozen=True)
class Sig(Attack):
    """`delta`: amplitude in grey levels of 255. `frequency`: periods over the width. `rate`: share of the target class."""

    name: ClassVar[str] = "sig"
    all_to_all: ClassVar[bool] = False
    rate: float = field(default=0.8, metadata={"help": "share of the target class that is poisoned"})
    delta: float = field(default=20.0, metadata={"help": "amplitude in grey levels of 255"})
    frequency: float = field(default=6.0, metadata={"help": "periods over the image's width"})

    def check(self, classes: int, shape: Shape) -> None:
        super().check(classes, shape)
        if self.delta <= 0:
            raise UsageError(f"an amplitude of {self.delta:g} changes nothing", where=self.name, todo="choose delta above 0, such as 20")

    def candidates(self, labels: Tensor, classes: int) -> Tensor:
        return torch.arange(len(labels))[labels.eq(int(self.target))]

    def module(self, shape: Shape) -> nn.Module:
        columns = torch.arange(shape[2], dtype=torch.float64)
        wave = self.delta / 255 * torch.sin(2 * math.pi * columns * self.frequency / shape[2])
        return Stripes(wave.float()[None, None, None, :])


class Stripes(nn.Module):
    """clamp(image + wave, 0, 1)."""

    wave: Tensor

    def __init__(self, wave: Tensor) -> None:
        super().__init__()
        self.register_buffer("wave", wave)

    def forward(self, image: Tensor) -> Tensor:
        return (image + self.wave).clamp(0, 1)
