"""Take BatchNormalization into the convolution before it, and put it back.

Folding: BN(Wx + b) = a (Wx + b - mu) + beta with a = gamma / sqrt(var + eps), so W' = a W and b' = a (b - mu) + beta. The arithmetic is
float32's and in the order in which torch's exporter folds, so that a kept model and its default export become the same to the last bit.

Putting it back (the numbers are gone, but not the behaviour): with mean and variance of the convolution's own output on clean data,
gamma = sqrt(var + eps) and beta = mean make the inserted BatchNormalization the identity in eval mode, for every channel, while its
train mode behaves as training did, and gamma is a mask: gamma[c] = 0 makes the channel its mean.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import onnx
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from rnpc.errors import InputRefused
from rnpc.passes.canonical.inline import Inline
from rnpc.passes.driver import Edit, PassResult, apply
from rnpc.passes.facts.sites import eval_mode
from rnpc.passes.facts.view import View, attribute, is_op, node_name

Stats = Mapping[str, tuple[np.ndarray, np.ndarray]]
"""Value -> (mean, variance), float [C] each."""


@dataclass(frozen=True)
class FoldNorms:
    """Each BatchNormalization after a Conv with stored weights becomes part of it; value names behind it stay."""

    name: str = "fold_norms"
    bound: float | None = 1e-5

    def requires(self, model: ModelProto) -> str | None:
        """Functions inlined: one may bear the operator's name."""
        return f"function {model.functions[0].name} is not inlined" if model.functions else None

    def run(self, model: ModelProto) -> PassResult:
        """The folded model; edits name the norms that went and where to."""
        edits: list[Edit] = []
        while found := fold_once(model):  # a norm behind a norm can go once the first one has
            edits += found
        drop_unread(model)
        return PassResult(model, tuple(edits))

    def ensures(self, model: ModelProto) -> str | None:
        """None is left that could be folded."""
        view = View(model)
        left = next((node for node in view.nodes if foldable(view, node) is not None), None)
        return None if left is None else f"node {node_name(left)} (BatchNormalization) is not folded"


def fold_once(model: ModelProto) -> list[Edit]:
    """Fold every norm that stands right behind its Conv; tells which."""
    view, gone, edits = View(model), list[int](), list[Edit]()
    for k, node in enumerate(view.nodes):
        conv = foldable(view, node)
        if conv is not None:
            edits.append({"kind": "fold", "node": node_name(node), "into": node_name(view.nodes[conv])})
            fold_into(model, view, conv, node)
            gone.append(k)
    for k in reversed(gone):
        del model.graph.node[k]
    return edits


def fold_bn(model: ModelProto) -> ModelProto:
    """A copy in which each BatchNormalization after a Conv with stored weights is part of it."""
    return apply([Inline(), FoldNorms()], model).model


def foldable(view: View, node: NodeProto) -> int | None:
    """Index of the Conv that a BatchNormalization can become part of."""
    if not is_op(node, "BatchNormalization") or not eval_mode(node) or any(view.tensor(name) is None for name in node.input[1:5]):
        return None
    k = view.makers.get(node.input[0])
    if k is None or not is_op(view.nodes[k], "Conv") or view.only_reader(node.input[0]) is None:
        return None
    return k if all(view.tensor(name) is not None for name in view.nodes[k].input[1:] if name) else None


def fold_into(folded: ModelProto, view: View, k: int, norm: NodeProto) -> None:
    """Rewrite Conv k of `folded` so that it makes the BatchNormalization's output."""
    conv = folded.graph.node[k]
    gamma, beta, mean, var = (values(view, name) for name in norm.input[1:5])
    weight = values(view, conv.input[1])
    bias = values(view, conv.input[2]) if len(conv.input) > 2 and conv.input[2] else np.zeros(len(weight), weight.dtype)
    scale = gamma / np.sqrt(var + np.float32(attribute(norm, "epsilon", 1e-5)))
    dtype = view.tensors[view.root(conv.input[1])].data_type
    parts = (weight * scale.reshape(-1, *[1] * (weight.ndim - 1)), (bias - mean) * scale + beta)
    names = [f"{norm.output[0]}.weight", f"{norm.output[0]}.bias"]
    for name, part in zip(names, parts, strict=True):
        folded.graph.initializer.append(store(part, name, dtype))
    inputs = [conv.input[0], *names]
    del conv.input[:]
    conv.input.extend(inputs)
    conv.output[0] = norm.output[0]


def values(view: View, name: str) -> np.ndarray:
    """A stored tensor as float32, or as float64 where it is that."""
    tensor = view.tensor(name)
    assert tensor is not None
    found = np.asarray(numpy_helper.to_array(tensor))
    return found if found.dtype == np.float64 else found.astype(np.float32)


def store(array: np.ndarray, name: str, dtype: int) -> TensorProto:
    """A tensor of the given ONNX type."""
    return numpy_helper.from_array(array.astype(helper.tensor_dtype_to_np_dtype(dtype)), name)


def drop_unread(model: ModelProto) -> None:
    """Remove initializers, Constants and Identity nodes over them, that nothing reads any more."""
    graph = model.graph
    view = View(model)
    idle = [k for k, n in enumerate(graph.node) if is_op(n, "Identity", "Constant") and not view.uses(n.output[0])]
    for k in reversed([k for k in idle if view.tensor(graph.node[k].output[0]) is not None]):
        del graph.node[k]
    view = View(model)
    unread = {t.name for t in graph.initializer if not view.uses(t.name)}
    for field in (graph.initializer, graph.input):
        for k in reversed([k for k, item in enumerate(field) if item.name in unread]):
            del field[k]


def unfold_bn(model: ModelProto, stats: Stats, eps: float = 1e-5) -> ModelProto:
    """A copy with a BatchNormalization behind the node that makes each value of `stats`.

    The node's output gets a new name and the BatchNormalization's output keeps the value's. Raises InputRefused for a value that no
    node makes.
    """
    unfolded = ModelProto()
    unfolded.CopyFrom(model)
    graph = unfolded.graph
    view = View(model)
    unknown = [value for value in stats if value not in view.makers]
    if unknown:
        raise InputRefused(f"no node makes the value {unknown[0]}", where="unfold_bn", todo="take the sites from this very model")
    nodes: list[NodeProto] = []
    for node in graph.node:
        nodes.append(node)
        if node.output and node.output[0] in stats:
            nodes.append(identity_norm(unfolded, node, *stats[node.output[0]], eps=eps))
    copies = [NodeProto.FromString(node.SerializeToString()) for node in nodes]
    del graph.node[:]
    graph.node.extend(copies)
    return unfolded


def identity_norm(model: ModelProto, node: NodeProto, mean: np.ndarray, var: np.ndarray, *, eps: float) -> NodeProto:
    """Rename the node's output and return a BatchNormalization from it to the old name that changes nothing."""
    value = node.output[0]
    node.output[0] = f"{value}.conv"
    # The statistics are rounded first, so that gamma / sqrt(var + eps) is one for the numbers that are stored.
    var32, mean32 = var.astype(np.float32), mean.astype(np.float32)
    gamma = np.sqrt(var32.astype(np.float64) + np.float32(eps)).astype(np.float32)
    names = [f"{value}.bn.{part}" for part in ("weight", "bias", "mean", "var")]
    for name, part in zip(names, (gamma, mean32, mean32, var32), strict=True):
        model.graph.initializer.append(numpy_helper.from_array(part, name))
    return onnx.helper.make_node(
        "BatchNormalization", [node.output[0], *names], [value], name=f"{value}.bn", epsilon=float(np.float32(eps))
    )
