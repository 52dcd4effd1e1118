"""Architectures in our own code and the registry that names them.

Every architecture is an `nn.Module` class with one signature, `(classes, width, channels, size)`: class scores, channels of the first
stage, image channels, side of the square image in pixels. `create` makes one by name; `infer` reads the settings back from the shapes
of a state dict, so that a weights file needs the name alone. A new architecture is one file and one line in `ARCHITECTURES`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from torch import nn

from rnpc.errors import InputRefused, UsageError
from rnpc.models.preact import PreActResNet18
from rnpc.models.resnet import ResNet18
from rnpc.models.vgg import VGG16

ARCHITECTURES: dict[str, Callable[..., nn.Module]] = {
    "resnet18": ResNet18,
    "preactresnet18": PreActResNet18,
    "vgg16": VGG16,
}


def names() -> tuple[str, ...]:
    """The names that `create` knows."""
    return tuple(ARCHITECTURES)


def create(name: str, *, classes: int, width: int = 64, channels: int = 3, size: int = 32) -> nn.Module:
    """A freshly initialised network; it maps float [n, channels, size, size] to scores [n, classes].

    Initial weights come from torch's global generator: call `torch.manual_seed` before. Raises UsageError for an unknown name.
    """
    if name not in ARCHITECTURES:
        raise UsageError("no such architecture", where=name, todo=f"choose one of {', '.join(names())}")
    return ARCHITECTURES[name](classes=classes, width=width, channels=channels, size=size)


def infer(name: str, state: Mapping[str, Any]) -> dict[str, int]:
    """`classes`, `width` and `channels` of the network that has these tensors: from the first filter and the last row count.

    All architectures begin with `stem.weight` [width, channels, 3, 3] and end with `fc.weight` [classes, features].
    Raises UsageError for an unknown name and InputRefused where the tensors are not there.
    """
    if name not in ARCHITECTURES:
        raise UsageError("no such architecture", where=name, todo=f"choose one of {', '.join(names())}")
    if "stem.weight" not in state or "fc.weight" not in state:
        todo = "name the architecture that the weights were saved from"
        raise InputRefused("the weights lack stem.weight or fc.weight", where=name, todo=todo)
    stem, head = state["stem.weight"].shape, state["fc.weight"].shape
    return {"classes": int(head[0]), "width": int(stem[0]), "channels": int(stem[1])}
