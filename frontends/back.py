"""Hardened weights back into torch: the plan's edits on a state dict or a module.

The graph was exported with BatchNorm kept, so its tensors are the module's own parameters, found by the name under which the node
reads them, or, where the exporter stored a changed copy (a transposed matrix), by their values. The edits are the same as in the graph:
retrained tensors are replaced, then a channel's weights become zero and its bias the constant.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
import torch
from onnx import numpy_helper
from torch import Tensor, nn

from rnpc.errors import InputRefused
from rnpc.passes.facts.place import Place
from rnpc.passes.facts.sites import find_places
from rnpc.passes.facts.view import Slot, View
from rnpc.passes.rewrite.check import check_plan
from rnpc.plan import Plan
from rnpc.program import Program

TODO = "take the hardened ONNX file instead"
PRUNE = "take the hardened ONNX file instead, or prune without a repair"
NONE: Mapping[str, np.ndarray] = MappingProxyType({})


@dataclass(frozen=True)
class Entry:
    """A state-dict entry that holds a site's tensor, and the axis of its channels there."""

    key: str
    axis: int


def apply_to_state_dict(
    state: Mapping[str, Tensor], program: Program, plan: Plan, tensors: Mapping[str, np.ndarray] = NONE
) -> dict[str, Tensor]:
    """A copy of the state dict with the plan's edits; entries that are not edited are the given tensors. `tensors`: what the plan retrains.

    Raises InputRefused where the plan does not fit, or where a parameter cannot be found, is shared, or has no bias to hold a constant.
    """
    return edit(state, program, plan, tensors, grow=None)


def apply_to_module(module: nn.Module, program: Program, plan: Plan, tensors: Mapping[str, np.ndarray] = NONE) -> nn.Module:
    """A deep copy of the module with the plan's edits. A layer without a bias gets one where its constant is not zero."""
    hardened = copy.deepcopy(module)
    with torch.no_grad():
        state = edit(hardened.state_dict(), program, plan, tensors, grow=hardened)
        hardened.load_state_dict(state)
    return hardened


def edit(
    state: Mapping[str, Tensor], program: Program, plan: Plan, tensors: Mapping[str, np.ndarray], grow: nn.Module | None
) -> dict[str, Tensor]:
    """Write the tensors and each planned channel into copies of the entries, which are found by what they hold now."""
    check_plan(program.source, program.sites, plan)
    if plan.silence is not None and plan.silence.mode != "zero":
        raise InputRefused("only channels that are zeroed go back into a torch module", where="plan", todo=TODO)
    view, given, made = View(program.model), dict(state), dict(state)
    owned = set[str]()
    for name, array in tensors.items():
        entry = retrained_of(view, name, given)
        new = torch.from_numpy(array.T.copy() if entry.axis else array.copy())
        made[entry.key] = new.to(given[entry.key])
        owned.add(entry.key)
    places = {place.site.value: place for place in find_places(program.model)}
    for site in plan.sites:
        place, constants = places[site.site], site.constants()
        weight = weight_of(view, place, given)
        bias = bias_of(view, place, weight, any(constants.values()), given, grow)
        for entry in filter(None, (weight, bias)):
            if entry.key not in owned:
                made[entry.key] = given[entry.key].detach().clone()
                owned.add(entry.key)
        for channel, value in constants.items():
            made[weight.key].select(weight.axis, channel).zero_()
            if bias is not None:
                made[bias.key].view(-1)[channel] = value
    return made


def retrained_of(view: View, name: str, state: Mapping[str, Tensor]) -> Entry:
    """The entry of a tensor of the graph; axis 1 where it is transposed. Raises InputRefused where there is none of its own."""
    tensor = view.tensors[name]
    array = np.asarray(numpy_helper.to_array(tensor)).astype(np.float64)
    entry = by_name(name, array, 0, state) or by_value(array, 0, state)
    if entry is None:
        raise InputRefused(f"no parameter of the module is the tensor {name}, which was retrained", where="plan", todo=PRUNE)
    if twins(state, entry.key):
        raise InputRefused(f"the parameter {entry.key}, which was retrained, is shared by several layers", where="plan", todo=PRUNE)
    return entry


def weight_of(view: View, place: Place, state: Mapping[str, Tensor]) -> Entry:
    """The entry of the site's weights, by name or by value. Raises InputRefused where there is none."""
    name, array = read(view, place.weight)
    entry = by_name(name, array, place.site.weight_axis, state) or by_value(array, place.site.weight_axis, state)
    if entry is None:
        raise refuse(f"no parameter of the module is the tensor {name}", place)
    return unshared(view, place, place.weight, entry, state)


def bias_of(view: View, place: Place, weight: Entry, needed: bool, state: dict[str, Tensor], grow: nn.Module | None) -> Entry | None:
    """The entry of the site's bias; where the layer has none (the exporter may write zeros for it), it is added to `grow` if needed."""
    if place.site.bias is not None and place.bias is not None:
        name, array = read(view, place.bias)
        entry = by_name(name, array, 0, state)
        if entry is not None:
            return unshared(view, place, place.bias, entry, state)
        if array.any():
            raise refuse(f"no parameter of the module is the tensor {name}", place)
    return grown(place, weight, state, grow) if needed else None


def grown(place: Place, weight: Entry, state: dict[str, Tensor], grow: nn.Module | None) -> Entry:
    """A bias of zeros for the layer that holds `weight`, in the module and in the state dict."""
    prefix, _, last = weight.key.rpartition(".")
    key = f"{prefix}.bias" if prefix else "bias"
    layer = grow.get_submodule(prefix) if grow is not None else None
    if layer is None or last != "weight" or getattr(layer, "bias", 0) is not None:
        raise refuse(f"{prefix or weight.key} has no bias to hold the constant of a pruned channel", place)
    like = state[weight.key]
    layer.register_parameter("bias", nn.Parameter(torch.zeros(place.site.channels, dtype=like.dtype, device=like.device)))
    state[key] = torch.zeros(place.site.channels, dtype=like.dtype, device=like.device)
    return Entry(key, 0)


def read(view: View, slot: Slot) -> tuple[str, np.ndarray]:
    """Name and values (float64) of the tensor that a node reads."""
    name = view.nodes[slot[0]].input[slot[1]]
    tensor = view.tensor(name)
    assert tensor is not None
    return name, np.asarray(numpy_helper.to_array(tensor)).astype(np.float64)


def unshared(view: View, place: Place, slot: Slot, entry: Entry, state: Mapping[str, Tensor]) -> Entry:
    """The entry. Raises InputRefused where an edit would reach another layer too."""
    if view.uses(view.root(view.nodes[slot[0]].input[slot[1]])) > 1 or twins(state, entry.key):
        raise refuse(f"the parameter {entry.key} is shared by several layers", place)
    return entry


def by_name(name: str, array: np.ndarray, axis: int, state: Mapping[str, Tensor]) -> Entry | None:
    """The entry of this name and shape."""
    return Entry(name, axis) if name in state and tuple(state[name].shape) == array.shape else None


def by_value(array: np.ndarray, axis: int, state: Mapping[str, Tensor]) -> Entry | None:
    """The only entry with these values, or these values transposed."""
    if array.min() == array.max():  # a constant could be anything
        return None
    found = []
    for key, value in state.items():
        own = value.detach().cpu().double().numpy()
        if own.shape == array.shape and np.array_equal(own, array):
            found.append(Entry(key, axis))
        elif own.ndim == 2 and own.T.shape == array.shape and np.array_equal(own.T, array):
            found.append(Entry(key, 1 - axis))
    return found[0] if len(found) == 1 else None


def twins(state: Mapping[str, Tensor], key: str) -> bool:
    """Whether another entry shares the memory of this one."""
    own = state[key]
    return any(k != key and own.numel() and v.data_ptr() == own.data_ptr() and v.shape == own.shape for k, v in state.items())


def refuse(what: str, place: Place) -> InputRefused:
    """The error of this module."""
    return InputRefused(what, where=f"site {place.site.value}", todo=TODO)
