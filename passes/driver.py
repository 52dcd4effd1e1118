"""The contract of a graph pass, and the driver that holds a pass to it.

A pass over a ModelProto states what it requires of the model and what it ensures; the driver checks the graph before and after, and, where
it is given a way to compare two models, that their outputs agree within the pass's bound. Hardening passes change outputs on purpose and
write bytes (`zero`); they check themselves.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import onnx
from onnx import ModelProto

from rnpc.errors import InputRefused, RnpcError
from rnpc.passes.batchnorm import fold_bn
from rnpc.passes.clean import clean

Compare = Callable[[ModelProto, ModelProto], float]
"""Largest difference of two models' outputs, relative to the outputs' scale."""


@dataclass(frozen=True)
class Pass:
    """A named rewrite of a model into a new one; `bound` is how far outputs may move, relative to their scale."""

    name: str
    run: Callable[[ModelProto], ModelProto]
    requires: str
    ensures: str
    bound: float


CLEAN = Pass("clean", clean, "any model", "same outputs; no Identity, Constant or shape arithmetic that can be computed once", 0.0)
FOLD = Pass("fold_bn", fold_bn, "any model", "same outputs; no BatchNormalization behind a Conv that nothing else reads", 1e-5)


@dataclass(frozen=True)
class PassResult:
    """The new model and, for each pass, the number of nodes before and after."""

    model: ModelProto
    nodes: tuple[tuple[str, int, int], ...]


def apply(passes: Sequence[Pass], model: ModelProto, compare: Compare | None = None) -> PassResult:
    """Run passes one after another. Raises InputRefused for an invalid model, RnpcError (a defect) where a pass breaks its promise."""
    problem = invalid(model)
    if problem:
        raise InputRefused(f"the model is invalid: {problem}", where="input", todo="export it again")
    counts = []
    for step in passes:
        changed = step.run(model)
        problem = invalid(changed)
        if problem:
            raise RnpcError(f"left an invalid model: {problem}", where=f"pass {step.name}", todo="please report it")
        moved = compare(model, changed) if compare else 0.0
        if moved > step.bound:
            raise RnpcError(
                f"moved the outputs by {moved:.2g}, allowed is {step.bound:.2g}", where=f"pass {step.name}", todo="please report it"
            )
        counts.append((step.name, len(model.graph.node), len(changed.graph.node)))
        model = changed
    return PassResult(model, tuple(counts))


def invalid(model: ModelProto) -> str | None:
    """What onnx's checker objects to, in one line; None for a valid model."""
    try:
        onnx.checker.check_model(model)
    except onnx.checker.ValidationError as error:
        return str(error).splitlines()[0]
    return None
