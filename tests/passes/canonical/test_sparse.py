"""Sparse tensors are written out."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
import pytest
from onnx import ModelProto, SparseTensorProto, helper, numpy_helper

from rnpc.errors import InputRefused
from rnpc.passes.canonical.canonical import canonical
from rnpc.passes.canonical.sparse import Dense
from rnpc.passes.driver import apply


def sparse(array: np.ndarray, name: str, flat: bool) -> SparseTensorProto:
    places = np.flatnonzero(array) if flat else np.argwhere(array)
    values = numpy_helper.from_array(array[array != 0], name)
    return helper.make_sparse_tensor(values, numpy_helper.from_array(places.astype(np.int64)), list(array.shape))


def stored(model: ModelProto) -> dict[str, np.ndarray]:
    return {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}


@pytest.mark.parametrize("flat", [True, False])
def test_an_initializer(flat: bool, net: ModelProto, run: Callable[..., dict[str, np.ndarray]]) -> None:
    k = next(k for k, tensor in enumerate(net.graph.initializer) if tensor.name == "w2")
    thin = numpy_helper.to_array(net.graph.initializer[k]).copy()
    thin[np.abs(thin) < 1] = 0
    net.graph.initializer[k].CopyFrom(numpy_helper.from_array(thin, "w2"))
    wanted = ModelProto()
    wanted.CopyFrom(net)
    del net.graph.initializer[k]
    net.graph.sparse_initializer.append(sparse(thin, "w2", flat))
    result = apply([Dense()], net)
    np.testing.assert_array_equal(stored(result.model)["w2"], thin)
    assert result.edits == ({"pass": "dense", "kind": "dense", "tensor": "w2"},)
    x = np.ones((2, 3, 6, 6), np.float32)
    np.testing.assert_array_equal(run(canonical(net), x, ["y"])["y"], run(canonical(wanted), x, ["y"])["y"])


def test_a_constant(make: Callable[..., ModelProto]) -> None:
    model = make("g (float[N,2] x) => (float[N,3] y) { y = MatMul (x, w) }", {})
    array = np.array([[0, 1, 0], [2, 0, 0]], np.float32)
    model.graph.node.insert(0, helper.make_node("Constant", [], ["w"], sparse_value=sparse(array, "", True)))
    result = apply([Dense()], model).model
    assert [node.op_type for node in result.graph.node] == ["MatMul"]
    np.testing.assert_array_equal(stored(result)["w"], array)


def test_indices_outside(make: Callable[..., ModelProto]) -> None:
    model = make("g (float[N,2] x) => (float[N,3] y) { y = MatMul (x, w) }", {})
    broken = sparse(np.eye(3, dtype=np.float32), "w", True)
    broken.indices.CopyFrom(numpy_helper.from_array(np.array([0, 4, 90], np.int64)))
    model.graph.sparse_initializer.append(broken)
    with pytest.raises(InputRefused, match="sparse tensor w has indices outside of its shape"):
        apply([Dense()], model)
    assert isinstance(model, onnx.ModelProto)
