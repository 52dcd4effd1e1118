"""Weights behind a Cast."""

from __future__ import annotations

from collections.abc import Callable

import ml_dtypes
import numpy as np
import pytest
from onnx import ModelProto, TensorProto, numpy_helper

from rnpc.passes.canonical.canonical import canonical
from rnpc.passes.canonical.cast import PlainWeights
from rnpc.passes.driver import apply

Make = Callable[..., ModelProto]
Random = Callable[..., np.ndarray]


def stored(model: ModelProto) -> dict[str, np.ndarray]:
    return {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16])
def test_a_half_weight_becomes_a_float_one(dtype: type, make: Make, random: Random) -> None:
    half = random(2, 3).astype(dtype)
    model = make("g (float[N,2] x) => (float[N,3] y) { c = Cast <to = 1> (w) y = MatMul (x, c) }", {"w": half})
    result = apply([PlainWeights()], model)
    assert [node.op_type for node in result.model.graph.node] == ["MatMul"]
    assert list(stored(result.model)) == ["c"] and stored(result.model)["c"].dtype == np.float32
    np.testing.assert_array_equal(stored(result.model)["c"], half.astype(np.float32))
    assert result.edits == ({"pass": "plain_weights", "kind": "cast", "node": "c", "tensor": "w"},)


def test_a_cast_to_half_rounds(make: Make, random: Random) -> None:
    weight = random(2, 3)
    text = f"g (float16[N,2] x) => (float16[N,3] y) {{ c = Cast <to = {TensorProto.FLOAT16}> (w) y = MatMul (x, c) }}"
    np.testing.assert_array_equal(stored(apply([PlainWeights()], make(text, {"w": weight})).model)["c"], weight.astype(np.float16))


def test_casts_of_what_is_computed_and_of_outputs_stay(make: Make, random: Random) -> None:
    text = "g (float[N,2] x) => (float[N,3] y, float[2,3] c) { c = Cast <to = 1> (w) h = Cast <to = 1> (x) y = MatMul (h, c) }"
    model = make(text, {"w": random(2, 3).astype(np.float16)})
    assert [node.op_type for node in apply([PlainWeights()], model).model.graph.node] == ["Cast", "Cast", "MatMul"]


def test_a_tensor_that_others_read_stays(make: Make, random: Random) -> None:
    text = "g (float[N,2] x) => (float[N,3] y, float16[2,3] z) { c = Cast <to = 1> (w) y = MatMul (x, c) z = Abs (w) }"
    assert list(stored(apply([PlainWeights()], make(text, {"w": random(2, 3).astype(np.float16)})).model)) == ["w", "c"]


def test_a_norm_is_folded_into_a_cast_weight(make: Make, random: Random) -> None:
    text = """g (float[N,3,6,6] x) => (float[N,2] y) { h = Cast <to = 1> (w) c = Conv (x, h) n = BatchNormalization (c, s, b, m, v)
        p = GlobalAveragePool (n) f = Flatten (p) y = Gemm (f, u) }"""
    tensors = {"w": random(4, 3, 1, 1).astype(np.float16), **{name: random(4) for name in "sbm"}, "v": np.abs(random(4)), "u": random(4, 2)}
    assert [node.op_type for node in canonical(make(text, tensors)).graph.node] == ["Conv", "GlobalAveragePool", "Flatten", "Gemm"]
