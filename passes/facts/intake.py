"""What is refused, and what a reader should know, before anything is done with a model.

`check` is the one gate of every command that studies a model: what it lets through, the studied network can be made of, but for operators
that the twin has no rule for. Warnings are no refusals: a backdoor need not sit in a channel, a graph can hide logic in branches, in a
Where over constants, in operators of its own. Pruning does not remove such logic; these warnings say that it was seen.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from onnx import ModelProto, NodeProto, TensorProto

from rnpc.errors import InputRefused
from rnpc.passes.canonical.inline import Inline
from rnpc.passes.canonical.qforms import FORMS, INTEGER, LINEAR, MICROSOFT, key
from rnpc.passes.driver import broken, copied
from rnpc.passes.facts.scores import choice
from rnpc.passes.facts.sites import eval_mode, find_sites, linear, score_layers
from rnpc.passes.facts.view import View, attribute, is_onnx, is_op, node_name, order, subgraphs
from rnpc.passes.wire import provenance

HIDES = "channel pruning does not remove logic"
DYNAMIC = ("DynamicQuantizeLinear", *INTEGER)
CODES = (TensorProto.INT8, TensorProto.UINT8, TensorProto.INT16, TensorProto.UINT16, TensorProto.INT32, TensorProto.INT4, TensorProto.UINT4)
FLOAT_MODEL = "harden the float model and quantise the hardened one"
Found = tuple[str, str] | None
"""What is wrong and what to do; None where nothing is."""


def check(model: ModelProto, where: str, output: str | None = None) -> None:
    """Raise InputRefused, with node and operator, for a model that cannot be studied; `output` carries the scores (default: the first)."""
    problem = broken(model)
    if problem:
        raise InputRefused(problem, where=where, todo="export it again")
    plain = Inline().run(copied(model)).model if model.functions else model
    view = View(plain)
    name = output or plain.graph.output[0].name
    path = [view.nodes[k] for k in view.leading_to(name)]
    checks: tuple[Callable[[View, str, list[NodeProto]], Found], ...] = (circle, control, quantised, training_mode, headless)
    for found in (each(view, name, path) for each in checks):
        if found is not None:
            raise InputRefused(found[0], where=where, todo=found[1])
    chooser = choice(plain, name)
    if chooser is not None:
        what = f"output {name} is the class that node {node_name(chooser)} ({chooser.op_type}) chose, and no scores"
        raise InputRefused(what, where=where, todo="export the model without it, or choose another output with --output-name NAME")
    if not find_sites(model):
        what = "nothing prunable: no Conv, BatchNormalization or hidden dense layer with stored weights"
        raise InputRefused(what, where=where, todo="see docs/operators.md")


def check_original(model: ModelProto, where: str) -> None:
    """Raise InputRefused for a file that rnpc hardened before."""
    if provenance.read(model):
        raise InputRefused("the model was already hardened by rnpc", where=where, todo="harden the original instead")


def circle(view: View, _: str, __: list[NodeProto]) -> Found:
    """Nodes that wait for each other."""
    done = set(order(view.nodes))
    node = next((node for k, node in enumerate(view.nodes) if k not in done), None)
    return None if node is None else (f"node {node_name(node)} ({node.op_type}) lies on a circle", "export it again")


def control(_: View, __: str, path: list[NodeProto]) -> Found:
    """If, Loop or Scan on the way to the scores."""
    node = next((node for node in path if any(subgraphs(node))), None)
    if node is None:
        return None
    todo = "export the model without control flow, for one size of image"
    return f"node {node_name(node)} ({node.op_type}) is control flow on the way to the scores", todo


def quantised(view: View, _: str, path: list[NodeProto]) -> Found:
    """Forms of quantised graphs other than QDQ and QOperator with stored scales (`canonical.quantised`)."""
    node, what = next(((n, reason) for n in path if (reason := beyond(view, n))), (None, ""))
    return None if node is None else (f"the model is quantised {what} (node {node_name(node)}, {node.op_type})", FLOAT_MODEL)


def beyond(view: View, node: NodeProto) -> str:
    """How a node quantises that is not supported; empty where it does not, or is."""
    if is_op(node, *DYNAMIC):
        return "dynamically"
    if key(node) in FORMS:
        return "with channels last" if attribute(node, "channels_last", 0) else ""
    if node.op_type in LINEAR and (is_onnx(node) or node.domain == MICROSOFT):
        point = view.tensor(node.input[2]) if len(node.input) > 2 else None
        if attribute(node, "block_size", 0):
            return "in blocks"
        return "to a type that is not supported" if point is not None and point.data_type not in CODES else ""
    named = node.op_type.startswith("Q") or any(part in node.op_type for part in ("Quant", "Integer", "NBits"))
    return f"by an operator of {node.domain} that is not supported" if named and not is_onnx(node) else ""


def training_mode(_: View, __: str, path: list[NodeProto]) -> Found:
    """BatchNormalization that uses the batch's own statistics."""
    node = next((n for n in path if is_op(n, "BatchNormalization") and not eval_mode(n)), None)
    if node is None:
        return None
    return f"node {node_name(node)} (BatchNormalization) is in training mode", "call model.eval() and export it again"


def headless(view: View, name: str, _: list[NodeProto]) -> Found:
    """Scores that no layer with weights makes."""
    if any(linear(view, k) for k in score_layers(view, [name])):
        return None
    return f"no Conv, Gemm or MatMul with stored weights makes the scores {name}", "rnpc hardens classifiers with a linear last layer"


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
    found = [f"{n.op_type} ({n.name or n.output[0]})" for n in view.nodes if is_op(n, "If", "Loop", "Scan") or any(subgraphs(n))]
    return [f"control flow: {listed(found)}; {HIDES}"] if found else []


def wheres(_: ModelProto, view: View) -> list[str]:
    """Where with a stored branch that can replace what the network computed."""
    found = [n.name or n.output[0] for n in view.nodes if is_op(n, "Where") and any(floats(view, name) for name in n.input[1:])]
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
    found = [n.name or n.output[0] for n in view.nodes if is_op(n, "BatchNormalization") and attribute(n, "training_mode", 0)]
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
    return lines + (["sparse initializers: layers that read them are not pruned"] if model.graph.sparse_initializer else [])


def hardened(model: ModelProto, _: View) -> list[str]:
    """A file that rnpc wrote."""
    found = provenance.read(model)
    if not found:
        return []
    seal = "seal intact" if provenance.intact(found) else "seal BROKEN"
    return [f"already hardened by rnpc ({seal}); it cannot be hardened again"]
