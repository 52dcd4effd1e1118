"""The clean model from which an attack or a descendant starts: that of a given folder, or one trained by the victim's own protocol.

Weights are read from `weights.safetensors`, whose metadata name the architecture; they must be those of the victim that is to be trained.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import safetensors
from safetensors.torch import load_file
from torch import nn

from rnpc import models
from rnpc.data.datasets import Dataset
from rnpc.errors import UsageError
from rnpc.victims.spec import VictimSpec

WEIGHTS = "weights.safetensors"


def ancestor(spec: VictimSpec) -> VictimSpec:
    """The clean victim of the same data, network and protocol."""
    return replace(spec, attack="none", target=None, rate=None, settings=(), descends="")


def clean_model(spec: VictimSpec, data: Dataset, given: str, own: Path, train: Callable[[VictimSpec, Path], None]) -> nn.Module:
    """The model in the folder `given`, or for "" the one that `train` writes into `own`; in eval mode, its parameters frozen.

    Raises UsageError where `given` holds no clean model of the victim's architecture.
    """
    if not given:
        train(ancestor(spec), own)
    model = read(Path(given) if given else own, spec, data)
    model.requires_grad_(False)
    return model.eval()


def read(folder: Path, spec: VictimSpec, data: Dataset) -> nn.Module:
    """The network of a finished victim's folder. Raises UsageError."""
    place, todo = folder / WEIGHTS, "give the folder of a clean victim that `rnpc attack none` wrote, or leave it out"
    try:
        with safetensors.safe_open(place, "pt") as file:
            facts = json.loads((file.metadata() or {})["architecture"])
        state = load_file(place)
    except (OSError, ValueError, KeyError, safetensors.SafetensorError) as error:
        raise UsageError("the attack needs a clean model, and this folder holds none", where=str(folder), todo=todo) from error
    sizes = {"width": spec.width, "classes": len(data.classes), "channels": data.shape[0], "size": data.shape[1]}
    for key, value in {"arch": spec.arch, **sizes}.items():
        if facts.get(key) != value:
            raise UsageError(f"the clean model's {key} is {facts.get(key)}, the victim's {value}", where=str(folder), todo=todo)
    model: nn.Module = models.create(spec.arch, **sizes)
    model.load_state_dict(state)
    return model
