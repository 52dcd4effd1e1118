"""What is stored behind an input."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from onnx import ModelProto

from rnpc.passes.facts.stored import array, stored, values
from rnpc.passes.facts.view import View

Make = Callable[..., ModelProto]


def test_through_identity_cast_and_transpose(make: Make, random: Callable[..., np.ndarray]) -> None:
    text = (
        "g (float[N,2] x) => (float[N,3] y) { i = Identity (w) c = Cast <to = 1> (i) t = Transpose <perm = [1, 0]> (c) y = MatMul (x, t) }"
    )
    w = random(3, 2).astype(np.float16)
    view = View(make(text, {"w": w}))
    found = stored(view, (3, 1))
    assert found is not None
    assert (found.name, found.slot, found.dims, found.flipped, found.cast) == ("w", (1, 0), (2, 3), True, True)
    np.testing.assert_array_equal(values(view, (3, 1)), w.T.astype(np.float64))
    assert stored(view, (3, 0)) is None and stored(view, (3, 2)) is None and values(view, (3, 2)) is None


def test_a_cast_rounds(make: Make, random: Callable[..., np.ndarray]) -> None:
    w = random(3, 2)
    view = View(make("g (float[N] x) => (float16[3,2] y) { c = Cast <to = 10> (w) y = Abs (c) }", {"w": w}))
    np.testing.assert_array_equal(array(view, "c"), w.astype(np.float16).astype(np.float64))


def test_shared_steps(make: Make, random: Callable[..., np.ndarray]) -> None:
    text = "g (float[N,3] x) => (float[N,3] y, float[3,3] z) { t = Transpose (w) i = Identity (t) y = MatMul (x, i) z = Abs (i) }"
    view = View(make(text, {"w": random(3, 3)}))
    assert stored(view, (2, 1)) is None and values(view, (2, 1)) is not None


def test_integers_and_computed_values(make: Make) -> None:
    view = View(make("g (float[N] x) => (float[N] y) { a = Abs (x) y = Add (a, n) }", {"n": np.array([1])}))
    assert stored(view, (1, 1)) is None and stored(view, (1, 0)) is None and values(view, (1, 0)) is None


def test_codes_and_rounded_numbers(make: Make, random: Callable[..., np.ndarray]) -> None:
    text = (
        "g (float[N,3] x) => (float[N,2] y, float[N,2] z) { i = Identity (q) d = DequantizeLinear <axis = 0> (i, s, o) y = Gemm (x, d) "
        "c = QuantizeLinear (w, one) e = DequantizeLinear (c, one) z = MatMul (x, e) }"
    )
    tensors = {"q": np.zeros((3, 2), np.int8), "s": random(3), "o": np.array([1, 2, 3], np.int8), "w": random(3, 2), "one": random()}
    view = View(make(text, tensors))
    codes, rounded = stored(view, (2, 1)), stored(view, (5, 1))
    assert codes is not None and codes.coding is not None and rounded is not None
    assert (codes.name, codes.slot, codes.coding.zero.tolist(), codes.rounded) == ("q", (1, 0), [1, 2, 3], False)
    assert (rounded.name, rounded.slot, rounded.coding, rounded.rounded) == ("w", (3, 0), None, True)
