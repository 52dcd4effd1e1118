"""The last linear layer, in every way to write it: its rows times the features are the scores."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from onnx import ModelProto

from rnpc.passes.canonical.canonical import canonical
from rnpc.passes.facts.head import find_head

Make = Callable[..., ModelProto]
Random = Callable[..., np.ndarray]
Run = Callable[..., dict[str, np.ndarray]]
X = np.random.default_rng(11).normal(size=(3, 3, 4, 4)).astype(np.float32)
POOL = "p = GlobalAveragePool (r) f = Flatten (p) "
HEADS = {
    "gemm": POOL + "y = Gemm (f, w, b)",
    "gemm with alpha, beta, softmax": POOL + "z = Gemm <alpha = 0.5, beta = 2.0> (f, w, b) y = Softmax (z)",
    "gemm transB": POOL + "y = Gemm <transB = 1> (f, wt)",
    "matmul": POOL + "m = MatMul (f, w) y = Add (b, m)",
    "matmul without bias": POOL + "y = MatMul (f, w)",
    "matmul by a Transpose": POOL + "t = Transpose <perm = [1, 0]> (wt) m = MatMul (f, t) y = Add (m, row)",
    "gemm by a Cast": POOL + "t = Cast <to = 1> (half) y = Gemm (f, t)",
    "1 x 1 after the pooling": "p = GlobalAveragePool (r) c = Conv (p, k, b) y = Flatten (c)",
    "1 x 1 before the pooling": "c = Conv (r, k, b) p = GlobalAveragePool (c) s = Softmax <axis = 1> (p) y = Flatten (s)",
    "before a mean": "c = Conv (r, k, b) y = ReduceMean <axes = [2, 3], keepdims = 0> (c)",
    "before a mean of axes from the end": "c = Conv (r, k, b) m = ReduceMean <axes = [-1, -2]> (c) y = Flatten (m)",
    "before an average over all": "c = Conv (r, k) v = AveragePool <kernel_shape = [4, 4]> (c) y = Flatten (v)",
    "over all positions": "c = Conv (r, all, b) y = Flatten (c)",
}
NONE = {
    "relu before the pooling": "c = Conv (r, k, b) q = Relu (c) p = GlobalAveragePool (q) y = Flatten (p)",
    "average over a part": "c = Conv (r, k) v = AveragePool <kernel_shape = [2, 2]> (c) p = GlobalMaxPool (v) y = Flatten (p)",
    "a sum of two": POOL + "u = Gemm (f, w, b) v = Gemm (f, w) y = Add (u, v)",
    "groups": "p = GlobalAveragePool (r) c = Conv <group = 2> (p, kg, b) y = Flatten (c)",
    "another domain": POOL + "y = own.Gemm (f, w, b)",
    "computed weights": POOL + "v = Abs (w) y = Gemm (f, v)",
}


def network(make: Make, random: Random, text: str) -> ModelProto:
    w = random(8, 6)
    tensors = {"w0": random(8, 3, 1, 1), "w": w, "wt": w.T.copy(), "half": w.astype(np.float16), "b": random(6), "row": random(1, 6)}
    tensors |= {"k": random(6, 8, 1, 1), "kg": random(6, 4, 1, 1), "all": random(6, 8, 4, 4)}
    return make(f"g (float[N,3,4,4] x) => (float[N,6] y) {{ a = Conv (x, w0) r = Relu (a) {text} }}", tensors)


@pytest.mark.parametrize("way", HEADS)
def test_rows_times_features_are_the_scores(way: str, make: Make, random: Random, run: Run) -> None:
    model = canonical(network(make, random, HEADS[way]))
    head = find_head(model)
    assert head is not None
    scores = model.graph.output[0].name
    found = run(model, X, [scores, head.features])
    z = found[head.features].astype(np.float64)
    z = z.mean((2, 3)) if head.pooled else z.reshape(len(X), -1)
    np.testing.assert_allclose(found[scores], z @ head.weight.T + head.bias, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("way", NONE)
def test_scores_made_in_another_way(way: str, make: Make, random: Random) -> None:
    assert find_head(canonical(network(make, random, NONE[way]))) is None


def test_a_layer_that_acts_on_each_position_is_no_head(make: Make, random: Random) -> None:
    model = make("g (float[N,3,4] x) => (float[N,6] y) { m = MatMul (x, w) y = Flatten (m) }", {"w": random(4, 2)})
    assert find_head(canonical(model)) is None
