"""Which values are filter sites, and which are not."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from onnx import ModelProto

from rnpc.passes.facts.sites import find_sites

Make = Callable[..., ModelProto]
Random = Callable[..., np.ndarray]
TAIL = "p = GlobalAveragePool ({0}) f = Flatten (p) y = Gemm (f, g) }}"


def sites(model: ModelProto) -> list[tuple[str, str, str, str | None]]:
    return [(s.value, s.kind, s.weight, s.bias) for s in find_sites(model)]


def graph(body: str, last: str) -> str:
    return "g (float[N,3,6,6] x) => (float[N,2] y) { " + body + TAIL.format(last)


def test_kinds_in_order(net: ModelProto) -> None:
    assert sites(net) == [("a", "conv", "w0", "b0"), ("n", "bn", "scale", "shift"), ("h", "linear", "w2", "b2")]
    assert [(s.node, s.op_type, s.axis, s.channels, s.weight_axis) for s in find_sites(net)] == [
        (0, "Conv", 1, 4, 0),
        (3, "BatchNormalization", 1, 6, 0),
        (7, "Gemm", 1, 7, 0),
    ]


def norm(random: Random, n: int) -> dict[str, np.ndarray]:
    return {"s": random(n), "b": random(n), "m": random(n), "v": np.abs(random(n))}


def test_batchnorm_beside_another_reader_is_a_site_of_its_own(make: Make, random: Random) -> None:
    model = make(
        graph("c = Conv (x, w) n = BatchNormalization (c, s, b, m, v) q = Add (c, n) ", "q"), {"w": random(4, 3, 1, 1), **norm(random, 4)}
    )
    model.graph.initializer.extend(make(graph("", "x"), {"g": random(4, 2)}).graph.initializer)
    assert sites(model) == [("c", "conv", "w", None), ("n", "bn", "s", "b")]


def test_batchnorm_before_convolution(make: Make, random: Random) -> None:
    text = graph("n = BatchNormalization (x, s, b, m, v) c = Conv (n, w) ", "c")
    assert sites(make(text, {"w": random(4, 3, 1, 1), "g": random(4, 2), **norm(random, 3)})) == [
        ("n", "bn", "s", "b"),
        ("c", "conv", "w", None),
    ]


def test_training_mode_is_no_site(make: Make, random: Random) -> None:
    text = graph("c = Conv (x, w) n, m2, v2 = BatchNormalization <training_mode = 1> (c, s, b, m, v) ", "n")
    assert sites(make(text, {"w": random(4, 3, 1, 1), "g": random(4, 2), **norm(random, 4)})) == [("c", "conv", "w", None)]


def test_names_behind_identity(make: Make, random: Random) -> None:
    text = graph("w = Identity (u) d = Identity (w) c = Conv (x, d) ", "c")
    assert sites(make(text, {"u": random(4, 3, 1, 1), "g": random(4, 2)})) == [("c", "conv", "u", None)]


def test_computed_weights_are_no_site(make: Make, random: Random) -> None:
    text = graph("w = Abs (u) c = Conv (x, w) ", "c")
    assert sites(make(text, {"u": random(4, 3, 1, 1), "g": random(4, 2)})) == []


def test_score_convolution_is_no_site(make: Make, random: Random) -> None:
    text = """g (float[N,3,6,6] x) => (float[N,2] y) { a = Conv (x, w) r = Relu (a) c = Conv (r, u) n = BatchNormalization (c, s, b, m, v)
        p = GlobalAveragePool (n) f = Flatten (p) y = Softmax (f) }"""
    assert sites(make(text, {"w": random(4, 3, 1, 1), "u": random(2, 4, 1, 1), **norm(random, 2)})) == [("a", "conv", "w", None)]


def test_every_head_of_a_sum_is_left_alone(make: Make, random: Random) -> None:
    text = "g (float[N,4] x) => (float[N,2] y) { h = Gemm (x, w, b) u = Gemm (h, g1) v = Gemm (x, g2) y = Add (u, v) }"
    tensors = {"w": random(4, 4), "b": random(4), "g1": random(4, 2), "g2": random(4, 2)}
    assert sites(make(text, tensors)) == [("h", "linear", "w", "b")]


@pytest.mark.parametrize("order", ["m, b", "b, m"])
def test_matmul_and_add(order: str, make: Make, random: Random) -> None:
    text = f"g (float[N,3,4] x) => (float[N,3,2] y) {{ m = MatMul (x, w) h = Add ({order}) y = MatMul (h, u) }}"
    model = make(text, {"w": random(4, 5), "b": random(5), "u": random(5, 2)})
    (site,) = find_sites(model)
    assert (site.value, site.kind, site.node, site.axis, site.weight_axis, site.channels) == ("h", "linear", 1, -1, 1, 5)


@pytest.mark.parametrize("attributes", ["beta = 0.5", "transA = 1"])
def test_gemm_that_changes_its_bias_or_batch(attributes: str, make: Make, random: Random) -> None:
    text = f"g (float[4,4] x) => (float[4,2] y) {{ h = Gemm <{attributes}> (x, w, b) y = Gemm (h, u) }}"
    assert sites(make(text, {"w": random(4, 4), "b": random(4), "u": random(4, 2)})) == []


def test_single_channel_and_integer_weights(make: Make, random: Random) -> None:
    text = graph("a = Conv (x, w) c = Conv (a, u) ", "c")
    assert sites(make(text, {"w": random(1, 3, 1, 1), "u": np.ones((4, 1, 1, 1), np.int8), "g": random(4, 2)})) == []
