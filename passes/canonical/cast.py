"""PlainWeights: a stored weight behind a Cast becomes a weight of that type, under the name that the Cast gave it.

Converters to half precision leave weights as float16 and cast them to float32 where a node wants that (or the other way). A twin would
otherwise see a computed weight, which is none.
"""

from __future__ import annotations

from dataclasses import dataclass

from onnx import ModelProto, NodeProto, helper, numpy_helper

from rnpc.passes.canonical.batchnorm import drop_unread
from rnpc.passes.driver import PassResult
from rnpc.passes.facts.view import FLOATS, View, attribute, is_op, node_name


@dataclass(frozen=True)
class PlainWeights:
    """No Cast between float types of a stored tensor stays."""

    name: str = "plain_weights"
    bound: float | None = 0.0

    def requires(self, model: ModelProto) -> str | None:
        """Nothing."""
        return None

    def run(self, model: ModelProto) -> PassResult:
        """The model with the cast tensors stored; tensors that nothing else reads are dropped."""
        graph, view = model.graph, View(model)
        gone = [k for k, node in enumerate(graph.node) if casts(view, node)]
        edits = []
        for k in gone:
            node = graph.node[k]
            source, to = view.tensor(node.input[0]), attribute(node, "to")
            assert source is not None
            value = numpy_helper.to_array(source).astype(helper.tensor_dtype_to_np_dtype(to))
            graph.initializer.append(numpy_helper.from_array(value, node.output[0]))
            edits.append({"kind": "cast", "node": node_name(node), "tensor": source.name})
        for k in reversed(gone):
            del graph.node[k]
        if gone:
            drop_unread(model)
        return PassResult(model, tuple(edits))

    def ensures(self, model: ModelProto) -> str | None:
        """None is left."""
        view = View(model)
        left = next((node for node in view.nodes if casts(view, node)), None)
        return None if left is None else f"node {node_name(left)} still casts a weight"


def casts(view: View, node: NodeProto) -> bool:
    """Whether the node casts a stored float tensor to another float type, for nodes of the graph alone."""
    if not is_op(node, "Cast") or attribute(node, "to") not in FLOATS or node.output[0] in view.outputs | view.captured:
        return False
    tensor = view.tensor(node.input[0])
    return tensor is not None and tensor.data_type in FLOATS
