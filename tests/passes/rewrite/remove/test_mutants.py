"""Deliberately broken rules, one at a time: the comparison of the zeroed with the removed graph must catch every one.

Each mutant names what is broken, and a random graph (seed, whole numbers or not) that is known to show it; should the graphs change,
others are tried. Caught means: outputs differ, the file is invalid, the rewrite itself raises, or a fact is not true.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from rnpc.passes.facts.channels import RULES, arithmetic, base, layers, moves, normalise, operands, pool, quantise, reshape, sweep, unary
from rnpc.passes.rewrite.remove import choice, graph, tensors

Patch = pytest.MonkeyPatch
Check = Callable[..., Any]


@dataclass(frozen=True)
class Mutant:
    """What is broken, how, and where it shows."""

    name: str
    break_: Callable[[Patch], None]
    seed: int
    whole: bool = False


def swap(patch: Patch, op_type: str, rule: Callable[[Any], None]) -> None:
    """Another rule for an operator."""
    key = ("", op_type)
    patch.setitem(RULES._entries, key, [replace(entry, value=rule) for entry in RULES._entries[key]])


def unary_rule(function: Callable[[np.ndarray], np.ndarray]) -> Callable[[Any], None]:
    return unary.entrywise(lambda step: function)


def patching(owner: Any, name: str, value: Any) -> Callable[[Patch], None]:
    return lambda patch: patch.setattr(owner, name, value)


def swapping(op_type: str, rule: Callable[[Any], None]) -> Callable[[Patch], None]:
    return lambda patch: swap(patch, op_type, rule)


def wrapped(owner: Any, name: str, make: Callable[[Any], Any]) -> Callable[[Patch], None]:
    """The old function goes into the new one."""
    return lambda patch: patch.setattr(owner, name, make(getattr(owner, name)))


def nothing(*args: Any, **kwargs: Any) -> None:
    """Forgets."""


def clone_in_place(self: Any, root: str, tensor: Any, array: np.ndarray, slots: Any) -> None:
    tensors.put(tensor, array)


def batchnorm_without_mean(step: Any) -> None:
    known = step.channels(0)
    if known is None:
        normalise.batch_normalization(step)
        return
    scale, bias, _, _ = (normalise.parameter(step, slot, known.ids) for slot in (1, 2, 3, 4))
    step.put(1, known.ids, scale * known.constant + bias)


def group_norm_by_channel(step: Any) -> None:
    known = step.channels(0)
    if known is not None:
        _, bias = (normalise.parameter(step, slot, known.ids) for slot in (1, 2))
        step.put(1, known.ids, np.where(known.constant == 0, bias, np.nan))


def shifted(slices: Any) -> Any:
    """Positions of the new axis numbered as if its slices lay side by side."""

    def broken(before: list[int], after: list[int], axis: int) -> Any:
        found = slices(before, after, axis)
        return found and replace(found, new=np.arange(len(found.new)) % (int(found.old.max()) + 1))

    return broken


def no_cut(step: Any, slot: int, known: Any) -> np.ndarray:
    array = np.asarray(step.need(slot, "").array, dtype=np.float64)
    return np.broadcast_to(array.reshape(-1)[:1], (known.count,))


def weight_scales_stay(patch: Patch) -> None:
    old = operands.requantised
    patch.setitem(
        operands.THROUGH, "DequantizeLinear", lambda view, node, k, inner: replace(old(view, node, k, inner), leaves=inner.leaves)
    )


MUTANTS = [
    Mutant("a padded layer keeps constants", patching(layers, "padded", lambda step, kernel: False), 0, True),
    Mutant("sigmoid of zero is zero", patching(unary, "sigmoid", lambda x: np.where(x == 0, 0.0, 1 / (1 + np.exp(-x)))), 1),
    Mutant("Relu leaves negative constants", swapping("Relu", unary_rule(lambda x: x)), 0),
    Mutant("LeakyRelu is Relu", swapping("LeakyRelu", unary_rule(lambda x: np.maximum(x, 0))), 2, True),
    Mutant("Clip has no bounds", swapping("Clip", unary_rule(lambda x: x)), 2, True),
    Mutant("PRelu forgets its slope", swapping("PRelu", arithmetic.combining(lambda v: np.maximum(v[0], 0))), 0),
    Mutant("Add takes the first constant", swapping("Add", arithmetic.combining(lambda v: v[0])), 0),
    Mutant("Sub is Add", swapping("Sub", arithmetic.combining(arithmetic.total)), 1, True),
    Mutant("Mul takes the first constant", swapping("Mul", arithmetic.combining(lambda v: v[0])), 6),
    Mutant("Div is Mul", swapping("Div", arithmetic.combining(arithmetic.product)), 4, True),
    Mutant("sums do not go together", patching(base.Step, "unite", nothing), 0),
    Mutant("BatchNormalization without its mean", swapping("BatchNormalization", batchnorm_without_mean), 4),
    Mutant("GroupNormalization by channel", swapping("GroupNormalization", group_norm_by_channel), 7),
    Mutant("LayerNormalization channel by channel", swapping("LayerNormalization", unary_rule(lambda x: x)), 31),
    Mutant("a layer's bias is no constant's part", patching(layers, "bias_values", lambda step, layer, outputs: np.zeros(outputs)), 0),
    Mutant(
        "taps of a kernel count once",
        wrapped(graph, "response", lambda old: lambda linear, c: old(linear, c) / linear.blocks(linear.weight.array).shape[3]),
        15,
        True,
    ),
    Mutant(
        "alpha of a Gemm is forgotten",
        wrapped(graph, "fold", lambda old: lambda work, linear, c: old(work, replace(linear, scale=1.0), c)),
        5,
        True,
    ),
    Mutant("count_include_pad keeps constants", wrapped(pool, "windowed", lambda old: lambda step, keeps: old(step, True)), 5, True),
    Mutant("Pad keeps constants", swapping("Pad", unary_rule(lambda x: x)), 6, True),
    Mutant(
        "Concat in reverse",
        wrapped(moves, "part", lambda old: lambda step, slot, axis: old(step, len(step.node.input) - 1 - slot, axis)),
        0,
    ),
    Mutant("Split sizes off by one", wrapped(graph, "resplit", lambda old: lambda work, k, parts: old(work, k, parts[::-1])), 0),
    Mutant("Gather indices stay", patching(graph, "repick", nothing), 16, True),
    Mutant("numbers stay", patching(graph, "recount", nothing), 1),
    Mutant("slices of a Reshape side by side", wrapped(reshape, "slices", shifted), 7, True),
    Mutant("scales of activations stay", patching(quantise, "side", no_cut), 10, True),
    Mutant("quantised constants are not rounded", patching(quantise.np, "rint", lambda x: x), 15),
    Mutant("scales of weights stay", weight_scales_stay, 3),
    Mutant("an unknown operator is no end", patching(sweep.Sweep, "stop", nothing), 29, True),
    Mutant("nothing is read", patching(choice, "rows_read", lambda linear, live: np.zeros(linear.channels.count, bool)), 0),
    Mutant("anything is a constant", wrapped(choice, "examine", lambda old: nothing), 0),
    Mutant("uneven groups", patching(choice, "even", nothing), 0, True),
    Mutant(
        "wrong group's positions",
        wrapped(tensors, "cut_groups", lambda old: lambda array, cut, stays: old(array, cut, stays[::-1])),
        27,
        True,
    ),
    Mutant(
        "a value may be empty",
        wrapped(choice, "narrow", lambda old: lambda facts, chosen: any(choice.even(facts, chosen, b) for b in facts.found.balances)),
        124,
    ),
    Mutant("constants are not folded", patching(graph, "fold", nothing), 0),
    Mutant("constants are not merged", patching(graph, "merge", nothing), 0, True),
    Mutant(
        "a carrier is taken for one",
        wrapped(graph, "carried", lambda old: lambda facts, root, place: (old(facts, root, place)[0], 1.0)),
        0,
        True,
    ),
    Mutant("shared tensors are not cloned", patching(tensors.Tensors, "clone", clone_in_place), 20, True),
    Mutant("stated shapes stay", patching(graph, "restate", nothing), 0),
]


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_caught(mutant: Mutant, graphs: ModuleType, same: Check, check_facts: Check, monkeypatch: Patch) -> None:
    mutant.break_(monkeypatch)
    tried = [(mutant.seed, mutant.whole), *((seed, whole) for seed in range(120) for whole in (False, True))]
    assert any(caught(graphs, same, check_facts, seed, whole) for seed, whole in tried)


def caught(graphs: ModuleType, same: Check, check_facts: Check, seed: int, whole: bool) -> bool:
    """Whether the graph of this seed shows a difference."""
    model = graphs.random_model(seed, whole)
    plan = graphs.random_plan(model, seed, whole)
    try:
        same(model, plan, 1e-10, seed)
        check_facts(model, plan, seed)
        return False
    except Exception:
        return True
