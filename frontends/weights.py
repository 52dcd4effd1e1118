"""Weights (safetensors, or a torch checkpoint) and the name of an architecture -> Program.

A checkpoint is read under `weights_only=True`: it is data. An architecture is a name of `rnpc.models` or `package.module:factory`, a
callable without arguments that gives an `nn.Module`; that one runs because the user named it.
"""

from __future__ import annotations

import importlib
import pickle
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from rnpc.data.config import read_file
from rnpc.errors import InputRefused, UsageError
from rnpc.frontends import is_safetensors, onnx_file, torch_module
from rnpc.frontends.back import apply_to_state_dict
from rnpc.frontends.export import quiet
from rnpc.plan import Plan
from rnpc.program import Program

Shape = tuple[int, int, int]
NESTED = ("state_dict", "model_state_dict", "model", "net", "weights")


def load(path: str | Path, arch: str, shape: Shape | None = None, output: str | None = None, study: bool = True) -> Program:
    """Read weights and make the Program of the architecture that holds them.

    `shape` is (channels, height, width) of an image; without it, the size comes from preprocessor_config.json beside the weights, and for
    our own architectures it is 32. Raises InputRefused where weights and architecture do not fit, UsageError for an unknown architecture.
    """
    path = Path(path)
    module, found = build(path, arch, shape)
    program = torch_module.load(module, found, output, study)
    return replace(program, name=path.name)


def hardened(path: str | Path, program: Program, plan: Plan, tensors: Mapping[str, np.ndarray]) -> bytes:
    """The weights of `path` with the plan's edits, as a safetensors file; a wrapper's prefix on all names is dropped. `tensors`: what the
    plan retrains."""
    import safetensors.torch as files

    state = apply_to_state_dict(read(Path(path)), program, plan, tensors)
    # Tied tensors get memory of their own, which the format asks for; loading ties them again.
    return bytes(files.save({key: value.detach().clone().contiguous() for key, value in state.items()}))


def build(path: Path, arch: str, shape: Shape | None = None) -> tuple[nn.Module, Shape]:
    """The architecture with the file's weights, in eval mode, and the shape of an image."""
    state = read(path)
    side = shape[1] if shape else None
    if ":" in arch:
        module, size = factory(arch), shape or beside(path)
        if size is None:
            raise UsageError(
                "the image size is not known", where=arch, todo="add --size, or put preprocessor_config.json beside the weights"
            )
    else:
        module, size = named(arch, state, side or (beside(path) or (3, 32, 32))[1])
    missing, unexpected = fit(module, state, path.name)
    if missing or unexpected:
        what = f"missing {missing[0]}" if missing else f"unexpected {unexpected[0]}"
        raise InputRefused(f"the weights do not fit {arch}: {what}", where=path.name, todo="name the architecture they were saved from")
    return module.eval(), size


def fit(module: nn.Module, state: dict[str, Tensor], name: str) -> tuple[list[str], list[str]]:
    """Load the weights; returns missing and unexpected keys. Raises InputRefused for another shape."""
    try:
        # BatchNorm's batch counter is not used in eval mode, and safetensors files often leave it out.
        result = module.load_state_dict(state, strict=False)
    except RuntimeError as error:
        line = str(error).strip().splitlines()[-1].strip()
        raise InputRefused(f"the weights do not fit: {line}", where=name, todo="name the architecture they were saved from") from error
    return [key for key in result.missing_keys if not key.endswith("num_batches_tracked")], list(result.unexpected_keys)


def named(arch: str, state: Mapping[str, Tensor], side: int) -> tuple[nn.Module, Shape]:
    """One of our own architectures, its settings read from the weights' shapes."""
    from rnpc import models

    settings = models.infer(arch, state)
    return models.create(arch, **settings, size=side), (settings.get("channels", 3), side, side)


def factory(arch: str) -> nn.Module:
    """The module that `package.module:factory` gives. Raises UsageError where it gives none."""
    place, _, name = arch.partition(":")
    try:
        made = getattr(importlib.import_module(place), name)()
    except (ImportError, AttributeError, TypeError) as error:
        raise UsageError(
            f"no architecture there ({error})", where=arch, todo="give package.module:factory, callable without arguments"
        ) from error
    if not isinstance(made, nn.Module):
        raise UsageError(f"gives {type(made).__name__}, no torch.nn.Module", where=arch, todo="return a module")
    return made


def read(path: Path) -> dict[str, Tensor]:
    """Tensors of a safetensors file or a checkpoint, by name; wrappers' prefixes (`module.`, `_orig_mod.`) taken off."""
    data = onnx_file.read(path)
    state = safetensors(data, path.name) if is_safetensors(data) else checkpoint(path)
    for prefix in ("module.", "_orig_mod."):
        if state and all(key.startswith(prefix) for key in state):
            state = {key.removeprefix(prefix): value for key, value in state.items()}
    return state


def safetensors(data: bytes, name: str) -> dict[str, Tensor]:
    """Tensors of a safetensors file."""
    import safetensors.torch as files

    try:
        return dict(files.load(data))
    except Exception as error:  # the format's own error class is made in Rust
        raise InputRefused(f"a damaged safetensors file ({error})", where=name, todo="save it again") from error


def checkpoint(path: Path) -> dict[str, Tensor]:
    """The state dict in a torch checkpoint, alone or under a usual key."""
    try:
        with quiet():
            found = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, KeyError, TypeError, AttributeError) as error:
        todo = "save model.state_dict() alone, best as safetensors"
        raise InputRefused(
            "no plain tensors: damaged, or with pickled objects, which rnpc does not run", where=path.name, todo=todo
        ) from error
    for key in NESTED:
        if isinstance(found, Mapping) and isinstance(found.get(key), Mapping):
            found = found[key]
    if not isinstance(found, Mapping) or not found or not all(isinstance(value, Tensor) for value in found.values()):
        raise InputRefused("holds no state dict (names to tensors)", where=path.name, todo="save model.state_dict()")
    return {str(key): value for key, value in found.items()}


def beside(path: Path) -> Shape | None:
    """Image shape by preprocessor_config.json beside the weights, if it states a size."""
    config = path.parent / "preprocessor_config.json"
    if not config.is_file():
        return None
    stated = read_file(config)
    height, width = stated.height or stated.shortest_edge, stated.width or stated.shortest_edge
    return (3, height, width) if height and width else None
