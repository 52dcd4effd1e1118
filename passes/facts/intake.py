"""What a reader should know about a model before trusting the pruning of its channels.

A backdoor need not sit in a channel: a graph can hide logic in branches, in a Where over constants, in operators of its own. Pruning
does not remove such logic; these warnings say that it was seen.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from onnx import ModelProto

from rnpc.passes.facts.view import View, attribute, is_onnx, subgraphs
from rnpc.passes.wire import provenance

HIDES = "channel pruning does not remove logic"


def warnings(model: ModelProto) -> list[str]:
    """One line for each kind of thing found, with the nodes or tensors; empty for a plain network."""
    view = View(model)
    checks: tuple[Callable[[ModelProto, View], list[str]], ...] = (branches, wheres, domains, training, copies, unused, hardened)
    return [line for check in checks for line in check(model, view)]


def listed(names: list[str]) -> str:
    """Up to three names, and how many more."""
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def branches(_: ModelProto, view: View) -> list[str]:
    """If, Loop and Scan."""
    found = [f"{n.op_type} ({n.name or n.output[0]})" for n in view.nodes if n.op_type in ("If", "Loop", "Scan") or any(subgraphs(n))]
    return [f"control flow: {listed(found)}; {HIDES}"] if found else []


def wheres(_: ModelProto, view: View) -> list[str]:
    """Where with a stored branch that can replace what the network computed."""
    found = [
        n.name or n.output[0] for n in view.nodes if n.op_type == "Where" and is_onnx(n) and any(floats(view, name) for name in n.input[1:])
    ]
    return [f"Where on constants: {listed(found)}; {HIDES}"] if found else []


def floats(view: View, name: str) -> bool:
    """Whether a name stands for a stored float tensor of more than one value (single numbers are masks' fill values)."""
    tensor = view.tensor(name)
    return tensor is not None and tensor.data_type in (1, 10, 11, 16) and any(d > 1 for d in tensor.dims)


def domains(model: ModelProto, view: View) -> list[str]:
    """Operators outside the default set, functions kept in the file."""
    found = sorted({f"{n.domain}.{n.op_type}" for n in view.nodes if not is_onnx(n)})
    lines = [f"custom operators: {listed(found)}"] if found else []
    return lines + ([f"model functions: {listed([f.name for f in model.functions])}"] if model.functions else [])


def training(_: ModelProto, view: View) -> list[str]:
    """BatchNormalization that would use the batch's own statistics."""
    found = [n.name or n.output[0] for n in view.nodes if n.op_type == "BatchNormalization" and attribute(n, "training_mode", 0)]
    return [f"BatchNormalization in training mode: {listed(found)}; its outputs depend on the batch"] if found else []


def copies(model: ModelProto, _: View) -> list[str]:
    """Tensors whose data is there twice, under one name or in two fields."""
    count = Counter(tensor.name for tensor in model.graph.initializer)
    found = [name for name, n in count.items() if n > 1]
    for tensor in model.graph.initializer:
        held = [bool(tensor.raw_data), bool(tensor.float_data), bool(tensor.int32_data), bool(tensor.double_data), bool(tensor.int64_data)]
        found += [tensor.name] if sum(held) > 1 else []
    return [f"tensors with two copies of data: {listed(found)}; readers may differ in which one they take"] if found else []


def unused(model: ModelProto, view: View) -> list[str]:
    """Initializers that nothing reads, and sparse ones, which no pass looks into."""
    found = [tensor.name for tensor in model.graph.initializer if not view.uses(tensor.name)]
    lines = [f"unused initializers: {listed(found)}"] if found else []
    return lines + (["sparse initializers: not looked into"] if model.graph.sparse_initializer else [])


def hardened(model: ModelProto, _: View) -> list[str]:
    """A file that rnpc wrote."""
    found = provenance.read(model)
    if not found:
        return []
    seal = "seal intact" if provenance.intact(found) else "seal BROKEN"
    return [f"already hardened by rnpc ({seal}); it cannot be hardened again"]
