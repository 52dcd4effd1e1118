"""The part of an attack that lives while a victim trains: what the training loop calls, and what an attack may use.

The order of calls: `prepare` and `poison` before the first epoch, `begin` with the fresh model, then in each epoch `epoch`, and in each
step `on_batch`, `loss`, `backward_done` (gradients are there, the model is not yet changed) and `stepped` (it is); `finish` after the
last epoch. Every call does nothing by default, so that an attack that poisons data alone trains as a clean model does.

State that changes from step to step (a generator's weights, its optimiser) is in `state`, which goes into checkpoints. What `prepare`
makes is made again after a kill, from the same seed, and comes out the same.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rnpc.attacks.base import to_float

if TYPE_CHECKING:
    from rnpc.attacks.base import Attack, Poisoned, Shape


@dataclass(frozen=True)
class Means:
    """What an attacker has before training: the training images (uint8 [n, H, W, C]) and labels, the victim's normalisation ([1, C, 1, 1]),
    and `clean`, which gives a clean model of the victim's architecture: that of a victim's folder, or for "" one trained by the same
    protocol and kept beside the victim. Its parameters are frozen, and it is in eval mode."""

    images: Tensor
    labels: Tensor
    mean: Tensor
    std: Tensor
    device: str
    seed: int
    clean: Callable[[str], nn.Module]

    def normalise(self, images: Tensor) -> Tensor:
        """Images in [0, 1] as the model reads them."""
        return (images - self.mean) / self.std

    def batch(self, count: int, generator: torch.Generator) -> Tensor:
        """Random training images, float32 [n, C, H, W] in [0, 1]; all of them where there are fewer."""
        rows = torch.randperm(len(self.images), generator=generator)[:count]
        return to_float(self.images[rows]).to(self.device)


class Loop:
    """The calls, doing nothing. `learns`: something is made in `prepare`, which may take as long as training a model. `pace`: factor on the
    learning rate."""

    learns = False
    pace = 1.0
    means: Means

    def __init__(self, attack: Attack, shape: Shape, classes: int) -> None:
        self.attack, self.shape, self.classes = attack, shape, classes

    def prepare(self, means: Means) -> None:
        """Called once, before anything is poisoned: a trigger is learned here, a clean model made."""
        self.means = means

    def poison(self, images: Tensor, labels: Tensor, generator: torch.Generator) -> Poisoned:
        """The training set as it is learned from."""
        return self.attack.poison(images, labels, self.classes, generator)

    def begin(self, model: nn.Module) -> None:
        """Called once with the fresh model: an attack on a trained model loads weights here."""

    def passes(self, epochs: int) -> int:
        """The epochs that are trained where the victim's spec says so many."""
        return epochs

    def parameters(self) -> list[nn.Parameter]:
        """Parameters trained beside the model's, by the same optimiser."""
        return []

    def epoch(self, model: nn.Module, number: int, epochs: int) -> None:
        """Called before an epoch (from 0) of so many, with the model in training mode."""

    def on_batch(self, images: Tensor, labels: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """A batch as it came, in [0, 1] before augmentation, to the batch as it is learned from. Gradients may flow through it."""
        return self.attack.on_batch(images, labels, self.classes, generator)

    def loss(self, model: nn.Module, inputs: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """The loss to minimise on normalised inputs, and the model's scores."""
        scores = model(inputs)
        return F.cross_entropy(scores, labels), scores

    def backward_done(self, model: nn.Module) -> None:
        """Called between the gradients and the step of the optimiser."""

    def stepped(self, model: nn.Module) -> None:
        """Called after each step of the model's optimiser: an optimiser of the attack's own steps here, a ball is projected onto."""

    def finish(self, model: nn.Module) -> None:
        """Called after the last epoch."""

    def state(self) -> dict[str, Any]:
        """Tensors and plain values that `restore` needs after a kill."""
        return {}

    def restore(self, state: dict[str, Any]) -> None:
        """Inverse of `state`."""

    def module(self) -> nn.Module | None:
        """The finished trigger, as `Attack.module`."""
        return self.attack.module(self.shape)

    def files(self) -> dict[str, bytes]:
        """Files that a finished victim holds beside the usual ones: a generator that another victim may use."""
        return {}
