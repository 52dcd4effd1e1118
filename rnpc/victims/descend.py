"""Descendants of clean victims, as users have them: a model that was fine-tuned, pruned or quantised after its training.

    finetuned    a quarter of the epochs more, at a tenth of the learning rate
    pruned       half of the weights of each convolution and linear layer, the smallest, are zero; a quarter of the epochs more, which keep
                 them zero
    quantised    the weights rounded to eight bits, one scale an output channel (symmetric), and written as floats again

They show whether a defense mistakes what these leave behind (dead weights, steps between values) for a backdoor.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from rnpc.attacks.base import Attack
from rnpc.attacks.loop import Loop
from rnpc.data.datasets import Dataset
from rnpc.victims.spec import VictimSpec

PRUNED = 0.5
LEVELS = 127


class Descendant(Loop):
    """Starts from the clean model of the same fields."""

    learns = True
    pace = 0.1

    def __init__(self, spec: VictimSpec, attack: Attack, data: Dataset) -> None:
        super().__init__(attack, data.shape, len(data.classes))
        self.kind = spec.descends
        self.kept: dict[str, Tensor] = {}

    def begin(self, model: nn.Module) -> None:
        model.load_state_dict(self.means.clean("").state_dict())
        if self.kind == "pruned":
            self.kept = {name: largest(weight) for name, weight in weights(model)}
            self.stepped(model)

    def passes(self, epochs: int) -> int:
        return 0 if self.kind == "quantised" else max(1, epochs // 4)

    @torch.no_grad()
    def stepped(self, model: nn.Module) -> None:
        for name, weight in weights(model):
            if name in self.kept:
                weight.mul_(self.kept[name])

    @torch.no_grad()
    def finish(self, model: nn.Module) -> None:
        if self.kind == "quantised":
            for _, weight in weights(model):
                weight.copy_(rounded(weight))

    def state(self) -> dict[str, Any]:
        return {"kept": self.kept}

    def restore(self, state: dict[str, Any]) -> None:
        self.kept = state["kept"]


def weights(model: nn.Module) -> list[tuple[str, Tensor]]:
    """Names and weights of the convolutions and linear layers."""
    layers = [(name, layer) for name, layer in model.named_modules() if isinstance(layer, nn.Conv2d | nn.Linear)]
    return [(name, layer.weight) for name, layer in layers]


def largest(weight: Tensor) -> Tensor:
    """1.0 for the larger part of the weights, 0.0 for the `PRUNED` share that is smallest."""
    sizes = weight.detach().abs().flatten()
    limit = sizes.sort().values[int(PRUNED * len(sizes)) - 1] if len(sizes) > 1 else sizes[0] - 1
    return (weight.detach().abs() > limit).float()


def rounded(weight: Tensor) -> Tensor:
    """The weight in steps of its output channel's largest value / 127."""
    scale = weight.flatten(1).abs().amax(1).clamp_min(1e-12).view(-1, *[1] * (weight.dim() - 1)) / LEVELS
    return (weight / scale).round() * scale
