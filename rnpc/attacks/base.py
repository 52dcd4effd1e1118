"""One signature for all attacks: a trigger, a way to poison data, a hook into the training loop, a target.

An attack is a frozen dataclass of its published settings, so that it can be printed, compared and hashed. What it holds is data only;
everything that changes while a victim trains lives in its `Loop` (`rnpc.attacks.loop`). An attack that poisons data overrides `module`
alone. One that changes the training (fresh warps in each batch) overrides `on_batch` too. One that learns its trigger, has its own loss, or
starts from a trained model returns a `Loop` of its own from `loop`.

All images here are RGB (or grey) in [0, 1], before normalisation, float32 [n, C, H, W], unless a line says otherwise.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
import torch
from torch import Tensor, nn

from rnpc.errors import UsageError

if TYPE_CHECKING:
    from rnpc.attacks.loop import Loop

Target = int | Literal["next"]
Shape = tuple[int, int, int]
"""Channels, height, width."""


@dataclass(frozen=True)
class Poisoned:
    """A training set after poisoning: uint8 images [n, H, W, C], int64 labels [n], and the indices that were changed."""

    images: Tensor
    labels: Tensor
    indices: Tensor


@dataclass(frozen=True)
class Attack:
    """Base of all attacks. `target` is a label, or `next` for label + 1 modulo the number of classes; `rate` is the share of the training
    images that are poisoned; `seed` draws whatever is random in the trigger itself."""

    name: ClassVar[str] = ""
    all_to_all: ClassVar[bool] = True
    target: Target = field(default=0, metadata={"help": "a label, or 'next'"})
    rate: float = field(default=0.1, metadata={"help": "share of the training images that are poisoned"})
    seed: int = field(default=0, metadata={"help": "draws what is random in the trigger"})

    def check(self, classes: int, shape: Shape) -> None:
        """Raises UsageError where the settings do not fit `classes` or `shape`."""
        if self.target == "next" and not self.all_to_all:
            raise UsageError("this attack has no all-to-all form", where=self.name, todo="give a label as the target")
        if self.target != "next" and not 0 <= self.target < classes:
            what = f"target {self.target} is outside the {classes} classes"
            raise UsageError(what, where=self.name, todo=f"choose 0 to {classes - 1}, or next")
        if not 0 < self.rate <= 1:
            raise UsageError(f"the poisoning rate {self.rate:g} is not in (0, 1]", where=self.name, todo="choose a share such as 0.1")
        for setting, file in (("clean", "weights.safetensors"), ("generator", "generator.safetensors")):
            given = getattr(self, setting, "")
            if given and not (Path(given) / file).is_file():
                what = f"setting {setting} names {Path(given).name}, which is no folder of a victim that holds {file}"
                raise UsageError(what, where=self.name, todo="give the folder of a finished victim, or leave the setting out")

    def module(self, shape: Shape) -> nn.Module | None:
        """The trigger as a network from images to triggered images, or None for an attack without one.

        Raises UsageError where the trigger is learned with a victim, and there is none without it.
        """
        raise UsageError("the trigger is learned with its victim", where=self.name, todo="train one, and use its trigger.onnx")

    def trigger(self, images: Tensor) -> Tensor:
        """Images as the attacker shows them to the finished model."""
        channels, height, width = images.shape[1:]
        module = cached_module(self, (channels, height, width))
        if module is None:
            return images
        with torch.no_grad():
            triggered: Tensor = module(images)
        return triggered

    def relabel(self, labels: Tensor, classes: int) -> Tensor:
        """The labels that the attacker wants for images of these labels."""
        return (labels + 1) % classes if self.target == "next" else torch.full_like(labels, self.target)

    def candidates(self, labels: Tensor, classes: int) -> Tensor:
        """Indices of the images that may be poisoned: all of them, unless an attack says otherwise."""
        return torch.arange(len(labels))

    def poison(self, images: Tensor, labels: Tensor, classes: int, generator: torch.Generator) -> Poisoned:
        """Put the trigger on a random `rate` of the candidates and relabel them.

        `images` are uint8 [n, H, W, C]; triggered ones are rounded to uint8 again, as an image file would hold them. Raises UsageError
        where the rate leaves nothing to poison.
        """
        chosen = self.choose(labels, classes, generator)
        images, poisoned = images.clone(), labels.clone()
        images[chosen] = to_uint8(self.trigger(to_float(images[chosen])))
        poisoned[chosen] = self.relabel(labels[chosen], classes)
        return Poisoned(images, poisoned, chosen)

    def choose(self, labels: Tensor, classes: int, generator: torch.Generator) -> Tensor:
        """Indices of a random `rate` of the candidates, in rising order. Raises UsageError where that is none."""
        candidates = self.candidates(labels, classes)
        count = round(self.rate * len(candidates))
        if count == 0:
            what = f"a poisoning rate of {self.rate:g} leaves none of {len(candidates)} images to poison"
            raise UsageError(what, where=self.name, todo="raise --rate or --fraction")
        return candidates[torch.randperm(len(candidates), generator=generator)[:count]].sort().values

    def check_labels(self, labels: Tensor, classes: int) -> None:
        """Raises UsageError where a training set of these labels is too small to carry the attack."""

    def check_batch(self, size: int) -> None:
        """Raises UsageError where a batch of this size leaves nothing to poison. Only attacks that poison batches have a limit."""

    def on_batch(self, images: Tensor, labels: Tensor, classes: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Change one training batch before augmentation and normalisation. Does nothing by default."""
        return images, labels

    def loop(self, shape: Shape, classes: int) -> Loop:
        """The part of the attack that lives while a victim trains."""
        from rnpc.attacks.loop import Loop  # that file needs this one

        return Loop(self, shape, classes)

    def counted(self, labels: np.ndarray) -> np.ndarray:
        """Indices of the images of these true labels on which success is counted: those that are not of the target class already."""
        return np.arange(len(labels)) if self.target == "next" else np.flatnonzero(labels != self.target)

    def settings(self) -> dict[str, Any]:
        """All settings as plain JSON values."""
        return {f.name: list(v) if isinstance(v := getattr(self, f.name), tuple) else v for f in fields(self)}


@lru_cache(maxsize=16)
def cached_module(attack: Attack, shape: Shape) -> nn.Module | None:
    """`attack.module(shape)`, made once."""
    return attack.module(shape)


def to_float(images: Tensor) -> Tensor:
    """uint8 [n, H, W, C] -> float32 [n, C, H, W] in [0, 1]; channels stay last in memory."""
    return images.permute(0, 3, 1, 2).float() / 255


def to_uint8(images: Tensor) -> Tensor:
    """Inverse of `to_float`, rounded."""
    return (images.clamp(0, 1) * 255).round().to(torch.uint8).permute(0, 2, 3, 1).contiguous()


def uniform(shape: tuple[int, ...], seed: int) -> Tensor:
    """Uniform numbers in [0, 1) from a seed of their own."""
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))
