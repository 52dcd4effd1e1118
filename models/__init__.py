"""Architectures in our own code and the registry that names them.

Every architecture is an `nn.Module` class with one signature, `(classes, width, channels, size)`: class scores, channels of the first
layer (the default is the paper's network), image channels, side of the square image in pixels; from 96 pixels on a network has the stem
of its paper, below that one for small images. Most take `depths` too, so that tests can have a shallow one. `create` makes one by name;
`infer` reads the settings back from the shapes of a state dict, so that a weights file needs the name alone. A new architecture is one
file and one line in `ARCHITECTURES`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from torch import nn

from rnpc.errors import InputRefused, UsageError
from rnpc.models.bottleneck import ResNet50, ResNeXt50
from rnpc.models.cnn import SmallCNN
from rnpc.models.convnext import ConvNeXtT
from rnpc.models.densenet import DenseNet121
from rnpc.models.efficientnet import EfficientNetB0
from rnpc.models.mobilenet import MobileNetV2
from rnpc.models.preact import PreActResNet18
from rnpc.models.resnet import ResNet18, ResNet34
from rnpc.models.shufflenet import ShuffleNetV2
from rnpc.models.vgg import VGG16, VGG19
from rnpc.models.vit import ViTS

ARCHITECTURES: dict[str, Callable[..., nn.Module]] = {
    "resnet18": ResNet18,
    "preactresnet18": PreActResNet18,
    "vgg16": VGG16,
    "resnet34": ResNet34,
    "resnet50": ResNet50,
    "resnext50": ResNeXt50,
    "vgg19": VGG19,
    "mobilenetv2": MobileNetV2,
    "efficientnetb0": EfficientNetB0,
    "densenet121": DenseNet121,
    "shufflenetv2": ShuffleNetV2,
    "convnexttiny": ConvNeXtT,
    "vitsmall": ViTS,
    "smallcnn": SmallCNN,
}


def names() -> tuple[str, ...]:
    """The names that `create` knows."""
    return tuple(ARCHITECTURES)


def create(name: str, *, classes: int, width: int | None = None, channels: int = 3, size: int = 32) -> nn.Module:
    """A freshly initialised network; it maps float [n, channels, size, size] to scores [n, classes].

    `width` None is the paper's. Initial weights come from torch's global generator: call `torch.manual_seed` before.

    Raises:
        UsageError: an unknown name, or sizes that the architecture cannot have.
    """
    if name not in ARCHITECTURES:
        raise UsageError("no such architecture", where=name, todo=f"choose one of {', '.join(names())}")
    sizes = {"classes": classes, "channels": channels, "size": size}
    return ARCHITECTURES[name](**sizes) if width is None else ARCHITECTURES[name](**sizes, width=width)


def infer(name: str, state: Mapping[str, Any]) -> dict[str, int]:
    """`classes`, `width` and `channels` of the network that has these tensors: from the first filter and the last row count.

    All architectures begin with `stem.weight` [width, channels, ...] and end with `fc.weight` [classes, features].
    Raises UsageError for an unknown name and InputRefused where the tensors are not there.
    """
    if name not in ARCHITECTURES:
        raise UsageError("no such architecture", where=name, todo=f"choose one of {', '.join(names())}")
    if "stem.weight" not in state or "fc.weight" not in state:
        todo = "name the architecture that the weights were saved from"
        raise InputRefused("the weights lack stem.weight or fc.weight", where=name, todo=todo)
    stem, head = state["stem.weight"].shape, state["fc.weight"].shape
    return {"classes": int(head[0]), "width": int(stem[0]), "channels": int(stem[1])}
