"""The loop of attacks whose trigger is learned: made in `prepare`, or loaded, or trained beside the model, then used as any trigger is."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn

from rnpc.attacks.base import Poisoned, to_float, to_uint8
from rnpc.attacks.generators import FILE, packed, unpack
from rnpc.attacks.loop import Loop, Means

CHUNK = 256


class Learned(Loop):
    """`learn` makes the trigger; `network` is it."""

    learns = True
    network: nn.Module

    def prepare(self, means: Means) -> None:
        super().prepare(means)
        torch.manual_seed(self.attack.seed)
        self.network = self.learn(means)

    def learn(self, means: Means) -> nn.Module:
        """The trigger, on the device of `means`, as a network from images to triggered images."""
        raise NotImplementedError

    def show(self, images: Tensor) -> Tensor:
        """Images with the trigger, without gradients, on the processor."""
        with torch.no_grad():
            return torch.cat([self.network(part.to(self.means.device)).clamp(0, 1).cpu() for part in images.split(CHUNK)])

    def poison(self, images: Tensor, labels: Tensor, generator: torch.Generator) -> Poisoned:
        chosen = self.attack.choose(labels, self.classes, generator)
        images, taught = images.clone(), labels.clone()
        images[chosen] = to_uint8(self.show(to_float(images[chosen])))
        taught[chosen] = self.attack.relabel(labels[chosen], self.classes)
        return Poisoned(images, taught, chosen)

    def module(self) -> nn.Module:
        return copy.deepcopy(self.network).cpu().eval()


class Generator(Learned):
    """A loop whose generator trains beside the model, with an optimiser of its own."""

    optimiser: torch.optim.Optimizer

    def given(self, folder: str, network: nn.Module) -> bool:
        """Whether a trained generator was given (and is loaded): it is used as it is."""
        if folder:
            unpack(network, folder, self.attack.name)
            network.requires_grad_(False)
        return bool(folder)

    def poison(self, images: Tensor, labels: Tensor, generator: torch.Generator) -> Poisoned:
        """Nothing: all poisoning happens in the batches."""
        return Poisoned(images, labels, torch.arange(0))

    def state(self) -> dict[str, Any]:
        return {"network": self.network.state_dict(), "optimiser": self.optimiser.state_dict()}

    def restore(self, state: dict[str, Any]) -> None:
        self.network.load_state_dict(state["network"])
        self.optimiser.load_state_dict(state["optimiser"])

    def files(self) -> dict[str, bytes]:
        return {FILE: packed(self.network)}
