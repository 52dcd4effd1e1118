"""Poisoning in each batch instead of the training set: the first `rate` of a batch gets the trigger and the target label.

Batches come shuffled, so the first images are a random draw, and a loop knows which of its images carry the trigger.
"""

from __future__ import annotations

import torch
from torch import Tensor

from rnpc.attacks.base import Attack, Poisoned
from rnpc.errors import UsageError


class InBatches(Attack):
    """To be named before the attack whose trigger it uses."""

    def poison(self, images: Tensor, labels: Tensor, classes: int, generator: torch.Generator) -> Poisoned:
        """Nothing: all poisoning happens in the batches."""
        return Poisoned(images, labels, torch.arange(0))

    def count(self, size: int) -> int:
        """How many of a batch of this size are triggered."""
        return round(self.rate * size)

    def check_batch(self, size: int) -> None:
        if self.count(size) == 0:
            what = f"a poisoning rate of {self.rate:g} leaves none of a batch of {size} to poison"
            raise UsageError(what, where=self.name, todo="raise --rate")

    def on_batch(self, images: Tensor, labels: Tensor, classes: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        images, labels, count = images.clone(), labels.clone(), self.count(len(images))
        images[:count] = self.trigger(images[:count])
        labels[:count] = self.relabel(labels[:count], classes)
        return images, labels
