"""The one door to a hardened file: original and plan in, bytes out, the same wherever it is done.

First the retrained tensors, then the silenced channels (zeroed where they are, or removed), then the metadata that declares it all. Neither
torch nor onnxruntime takes part, and nothing is written that does not follow from original, plan and new tensors.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import onnx
from google.protobuf.message import DecodeError
from onnx import ModelProto

from rnpc.errors import InputRefused
from rnpc.passes.facts.sites import find_sites
from rnpc.passes.rewrite import check
from rnpc.passes.rewrite import weights as retrained
from rnpc.passes.rewrite.kept import Kept
from rnpc.passes.rewrite.zero import write_zeros
from rnpc.passes.wire import external, provenance
from rnpc.passes.wire import walk as wire
from rnpc.plan import Mode, Plan, Silence


@dataclass(frozen=True)
class Applied:
    """The hardened file, the declared edits in the order in which they were made, and the plan that its metadata holds.

    `kept`: channels (site, channel, reason) that were to be removed and stay in the graph, zeroed, since removing them would not be exact.
    """

    data: bytes
    edits: list[dict[str, Any]]
    plan: Plan
    kept: list[Kept] = field(default_factory=list)


def apply(source: bytes, plan: Plan, weights: Mapping[str, np.ndarray] | None = None, mode: Mode | None = None) -> Applied:
    """The file that `plan` makes of `source`, which is self-contained (`wire.external.inline` makes a model so).

    `weights`: new values of the tensors that the plan retrains. `mode` takes the place of the plan's. Raises InputRefused where the plan
    does not fit: other rules, another original, an original that is itself hardened, tensors or channels that are not there.
    """
    check.check_rewrite(plan)
    check.check_original(source, plan)
    plan = in_mode(plan, mode)
    model = parse(source)
    if provenance.read(model):
        raise check.refuse("the model was already hardened by rnpc", "apply the plan to the original", "model")
    data, edits, kept = source, list[dict[str, Any]](), list[Kept]()
    if plan.weights is not None or weights:
        data, edits = retrained.replace(source, plan.weights or retrained.NONE, weights or {})
        model = parse(data)
    if plan.silence is not None:
        data, more, kept = silence(data, model, plan.silence)
        edits = [*edits, *more]
    return Applied(provenance.append(data, provenance.entries(plan)), edits, plan, kept)


def in_mode(plan: Plan, mode: Mode | None) -> Plan:
    """The plan with its channels zeroed or removed, as `mode` says; None leaves it as it is."""
    if mode is None or plan.silence is None:
        return plan
    return replace(plan, silence=replace(plan.silence, mode=mode))


def silence(source: bytes, model: ModelProto, edit: Silence) -> tuple[bytes, list[dict[str, Any]], list[Kept]]:
    """Zero or remove the channels; `model` is the parsed view of `source`."""
    check.check_silence(find_sites(model), edit)
    if not any(entry.channels for entry in edit.sites):
        return source, [], []
    if edit.mode == "zero":
        zeroed = write_zeros(source, model, edit.sites)
        return zeroed.data, zeroed.edits, []
    try:
        from rnpc.passes.rewrite.remove import remove
    except ImportError as error:
        raise check.refuse("this version cannot remove channels", "use mode zero") from error
    removed = remove(source, model, edit)
    return removed.data, removed.edits, removed.kept


def parse(source: bytes) -> ModelProto:
    """The model in `source`. Raises InputRefused for bytes that are no ONNX, and for a model whose data lies elsewhere."""
    try:
        outside = [name for _, name in external.outside(source)]
        model = onnx.load_model_from_string(source)
    except (wire.WireError, DecodeError, RecursionError) as error:
        raise InputRefused("truncated, damaged, or not an ONNX file", where="model", todo="give the file as it was exported") from error
    if outside:
        what = f"the data of tensor {outside[0]} lies in another file"
        raise InputRefused(what, where="model", todo="load it through rnpc, which brings external data in")
    return model
