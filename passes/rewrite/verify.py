"""Whether a hardened file is its original with the declared edits and nothing else. It runs no model and takes nobody's word.

The rewrite is done again from the original and the plan, and the bytes are compared: equal bytes prove that the file holds just the plan's
edits, whoever made it. What a plan is worth is another question: one that comes with the file (its metadata) is what the file's maker
declares; one from a place that the reader trusts also says that these were the edits to make. New values of retrained tensors are
beyond any reader's judgement, so that only a trusted plan, which holds their digests, passes them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
from google.protobuf.message import DecodeError
from onnx import ModelProto

from rnpc.errors import InputRefused
from rnpc.passes.rewrite import check
from rnpc.passes.rewrite import weights as retrained
from rnpc.passes.rewrite.apply import apply
from rnpc.passes.rewrite.compare import compare
from rnpc.passes.rewrite.kept import Kept
from rnpc.passes.rewrite.shown import Difference
from rnpc.passes.wire import provenance
from rnpc.passes.wire import walk as wire
from rnpc.plan import Plan

Tensors = Mapping[str, np.ndarray]
Declared = Literal["trusted", "self-declared"]
Result = Literal["verified", "unchanged", "different"]


@dataclass(frozen=True)
class Verified:
    """What was found. `verified`: the bytes are those of original and plan; `unchanged`: those of the original, and there is no plan.

    `plan` is the one that was redone, `source` says whose it is; `seal` whether that of the file's metadata fits (None: it has none);
    `edits` and `kept` are those of the redone rewrite, None and empty where it could not be done; `weights` the new values it took.
    """

    result: Result
    differences: tuple[Difference, ...] = ()
    plan: Plan | None = None
    source: Declared | None = None
    seal: bool | None = None
    edits: list[dict[str, Any]] | None = None
    weights: Tensors | None = None
    kept: list[Kept] = field(default_factory=list)


def verify(
    original: bytes, hardened: bytes, plan: Plan | None = None, weights: Tensors | None = None, *, require_hardened: bool = False
) -> Verified:
    """Compare `hardened` with what the plan makes of `original` (self-contained bytes).

    `plan` is one that the reader trusts; without it the file's own is taken. `weights`: new values of retrained tensors; those in which no
    channel is silenced afterwards can also be read from `hardened` itself. Raises InputRefused for files that cannot be read, a trusted
    plan that does not fit the original, and rules that this version does not know.
    """
    declared = provenance.read(readable(hardened))
    if provenance.OPTIMISED in declared:
        return optimised_copy(declared[provenance.OPTIMISED])
    if plan is None and not declared:
        return undeclared(original, hardened, require_hardened)
    seal = provenance.intact(declared) if declared else None
    if plan is not None:
        found = redo(original, hardened, same_mode(plan, declared), weights)
    else:
        found = self_declared(original, hardened, declared.get("rnpc.plan", ""), weights)
    more = [*unsealed(seal), *unhardened(found.plan, require_hardened)]
    differences = (*more, *found.differences)
    result: Result = "different" if differences else "verified"
    return replace(found, result=result, differences=differences, source="self-declared" if plan is None else "trusted", seal=seal)


def undeclared(original: bytes, hardened: bytes, require_hardened: bool) -> Verified:
    """A file that declares nothing, and no plan: it can only be the original."""
    if original != hardened:
        missing = Difference("metadata", (), "a plan, in the file or given", "none")
        return Verified("different", (missing, *compare(original, hardened)))
    wrong = unhardened(None, require_hardened)
    return Verified("different" if wrong else "unchanged", tuple(wrong))


def optimised_copy(digest: str) -> Verified:
    """An optimised copy: no plan leads to it."""
    said = f"an optimised copy of {digest[:12]}, which no plan covers: verify that file"
    return Verified("different", (Difference("copy", ("metadata rnpc.optimised",), "a hardened file", said),))


def unsealed(seal: bool | None) -> list[Difference]:
    """What a broken seal says."""
    return [Difference("seal", ("metadata rnpc.seal",), "the digest of the metadata", "another value")] if seal is False else []


def unhardened(plan: Plan | None, require_hardened: bool) -> list[Difference]:
    """What is to be said of a file without edits, where a hardened one is required."""
    edits = plan is not None and (plan.channels > 0 or (plan.weights is not None and len(plan.weights.tensors) > 0))
    return [Difference("hardening", (), "a hardened file", "no edits")] if require_hardened and not edits else []


def readable(hardened: bytes) -> ModelProto:
    """The parsed file, which may differ in any way but that of not being ONNX. Raises InputRefused."""
    try:
        wire.graph(hardened)
        model: ModelProto = ModelProto.FromString(hardened)
    except (wire.WireError, DecodeError, RecursionError) as error:
        raise InputRefused(f"truncated, damaged, or not an ONNX file ({error})", where="hardened file", todo="fetch it again") from error
    return model


def same_mode(plan: Plan, declared: Mapping[str, str]) -> Plan:
    """The trusted plan, in the mode of the file's own where that is the only thing in which the two differ."""
    try:
        own = Plan.from_json(declared.get("rnpc.plan", ""))
    except InputRefused:
        return plan
    if plan.silence is None or own.silence is None:
        return plan
    other = replace(plan, silence=replace(plan.silence, mode=own.silence.mode))
    return other if other == own else plan


def self_declared(original: bytes, hardened: bytes, text: str, weights: Tensors | None) -> Verified:
    """Redo a plan that nobody vouches for: what is wrong with it is a difference. Raises InputRefused for unknown rules only."""
    place = ("metadata rnpc.plan",)
    try:
        plan = Plan.from_json(text, place[0])
    except InputRefused as error:
        return Verified("different", (Difference("plan", place, "a plan", error.what),))
    check.check_rewrite(plan)
    digest = hashlib.sha256(original).hexdigest()
    if plan.original != digest:
        wrong = Difference("original", place, f"made for {plan.original[:12]}", f"the original given is {digest[:12]}")
        return Verified("different", (wrong,), plan)
    try:
        found = redo(original, hardened, plan, weights)
    except InputRefused as error:
        return Verified("different", (Difference("plan", place, "edits that the original allows", error.what),), plan)
    tensors = () if plan.weights is None else plan.weights.tensors
    said = "digests in a trusted plan (--plan)", "retrained, by the file's own word only"
    unproved = (Difference("tensor", (f"tensor {entry.tensor}",), *said) for entry in tensors)
    return replace(found, differences=(*unproved, *found.differences))


def redo(original: bytes, hardened: bytes, plan: Plan, weights: Tensors | None) -> Verified:
    """Apply the plan again and compare."""
    check.check_rewrite(plan)
    check.check_original(original, plan)
    wrong: tuple[Difference, ...] = ()
    if plan.weights is not None and weights is None:
        weights, wrong = own_weights(hardened, plan)
    if wrong:
        return Verified("different", wrong, plan)
    again = apply(original, plan, weights)
    differences = tuple(compare(again.data, hardened))
    return Verified("different" if differences else "verified", differences, plan, edits=again.edits, weights=weights, kept=again.kept)


def own_weights(hardened: bytes, plan: Plan) -> tuple[Tensors | None, tuple[Difference, ...]]:
    """Retrained tensors as the file holds them; a difference for each whose digest is not the plan's."""
    assert plan.weights is not None
    found, wrong, index = dict[str, np.ndarray](), list[Difference](), wire.index(hardened)
    for entry in plan.weights.tensors:
        place = (f"tensor {entry.tensor}",)
        try:
            found[entry.tensor] = retrained.array(hardened, retrained.stored(index, entry.tensor))
        except InputRefused as error:
            wrong.append(Difference("tensor", place, f"sha256 {entry.after[:12]}", error.what))
            continue
        digest = retrained.digest(retrained.little(found[entry.tensor]))
        if digest != entry.after:
            hint = " (where channels of it are silenced as well, give its new values with --weights)"
            wrong.append(Difference("tensor", place, f"sha256 {entry.after[:12]}", f"sha256 {digest[:12]}{hint if plan.sites else ''}"))
    return found, tuple(wrong)
