"""Scores, tails and chosen classes; which operators are a tail is tested with the pass that takes it off."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from onnx import ModelProto

from rnpc.passes.facts.scores import choice, find_scores

Make = Callable[..., ModelProto]


def test_value_and_tail(make: Make) -> None:
    model = make("g (float[N,4] x) => (float[N,4] y, float[N,4] z) { a = Relu (x) z = Sigmoid (a) b = Identity (a) y = Softmax (b) }", {})
    found = find_scores(model)
    assert (found.value, found.tail) == ("a", (3, 2))
    assert (find_scores(model, "z").value, find_scores(model, "z").tail) == ("a", (1,))


def test_no_tail(make: Make) -> None:
    found = find_scores(make("g (float[N,4] x) => (float[N,4] y) { y = Relu (x) }", {}))
    assert (found.value, found.tail) == ("y", ())


def test_a_softmax_of_unknown_shape_is_not_taken_off(make: Make) -> None:
    model = make("g (float[N,4] x, int64[k] s) => (float[N,4] y) { a = Reshape (x, s) y = Softmax (a) }", {})
    assert find_scores(model).value == "y"


def test_codes_of_one_scale_are_a_tail(make: Make) -> None:
    text = """g (float[N,4] x) => (float[N,4] y, float[N,4] z) { a = Relu (x) q = QuantizeLinear (a, one) y = DequantizeLinear (q, one)
        r = QuantizeLinear <axis = 1> (a, each) z = DequantizeLinear <axis = 1> (r, each) }"""
    model = make(text, {"one": np.array(0.1, np.float32), "each": np.full(4, 0.1, np.float32)})
    assert find_scores(model).value == "a" and find_scores(model, "z").value == "z"


@pytest.mark.parametrize(
    ("text", "op"),
    [
        ("k = ArgMax (x) y = Cast <to = 1> (k)", "ArgMax"),
        ("v, y = TopK (x, n)", "TopK"),
        ("y = Hardmax (x)", "Hardmax"),
        ("y = Relu (x)", None),
    ],
)
def test_a_chosen_class(text: str, op: str | None, make: Make) -> None:
    node = choice(make(f"g (float[N,4] x) => (float[N,K] y) {{ {text} }}", {"n": np.array([1])}))
    assert (None if node is None else node.op_type) == op
