"""Dense: tensors that are stored sparse (values and their places) are written out, zeros included, under their names."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

import numpy as np
from onnx import ModelProto, NodeProto, SparseTensorProto, TensorProto, numpy_helper

from rnpc.errors import InputRefused
from rnpc.passes.driver import PassResult
from rnpc.passes.facts.view import attribute, is_op


@dataclass(frozen=True)
class Dense:
    """No sparse initializer and no sparse Constant stays."""

    name: str = "dense"
    bound: float | None = 0.0

    def requires(self, model: ModelProto) -> str | None:
        """Nothing."""
        return None

    def run(self, model: ModelProto) -> PassResult:
        """The model with dense initializers instead. Raises InputRefused for indices outside of the tensor."""
        graph = model.graph
        found = {tensor.values.name: tensor for tensor in graph.sparse_initializer}
        found |= {node.output[0]: attribute(node, "sparse_value") for node in graph.node if is_sparse(node)}
        graph.initializer.extend(dense(tensor, name) for name, tensor in found.items())
        del graph.sparse_initializer[:]
        for k in reversed([k for k, node in enumerate(graph.node) if is_sparse(node)]):
            del graph.node[k]
        return PassResult(model, tuple({"kind": "dense", "tensor": name} for name in found))

    def ensures(self, model: ModelProto) -> str | None:
        """None is left."""
        left = [t.values.name for t in model.graph.sparse_initializer] + [n.output[0] for n in model.graph.node if is_sparse(n)]
        return f"tensor {left[0]} is still sparse" if left else None


def is_sparse(node: NodeProto) -> bool:
    """Whether the node is a Constant that holds a sparse tensor."""
    return is_op(node, "Constant") and any(entry.name == "sparse_value" for entry in node.attribute)


def dense(tensor: SparseTensorProto, name: str) -> TensorProto:
    """The whole tensor. Indices are places in row-major order, int64 [n], or one index an axis, [n, axes]."""
    values, indices = numpy_helper.to_array(tensor.values), numpy_helper.to_array(tensor.indices)
    whole = np.zeros(prod(tensor.dims), values.dtype)
    try:
        places = np.ravel_multi_index(tuple(indices.T), tuple(tensor.dims)) if indices.ndim == 2 else indices
        whole[places] = values
    except (ValueError, IndexError) as error:
        raise InputRefused(f"sparse tensor {name} has indices outside of its shape", where="pass dense", todo="export it again") from error
    return numpy_helper.from_array(whole.reshape(tuple(tensor.dims)), name)
