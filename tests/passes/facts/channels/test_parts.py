"""The parts below the rules: components, sizes, computed shapes, operands, slices of a Reshape, liveness, and the table of facts."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import ModelProto

from rnpc.passes.facts.channels import Row, analyse, describe
from rnpc.passes.facts.channels.classes import classes
from rnpc.passes.facts.channels.operands import find_operand
from rnpc.passes.facts.channels.reshape import slices
from rnpc.passes.facts.channels.sizes import sizes
from rnpc.passes.facts.view import View

Make = Callable[..., ModelProto]
PAIRS = st.lists(st.tuples(st.integers(0, 19), st.integers(0, 19)), max_size=30)


@given(PAIRS)
def test_classes_are_connected_components(pairs: list[tuple[int, int]]) -> None:
    groups = [{i} for i in range(20)]
    for a, b in pairs:
        one, two = (next(g for g in groups if i in g) for i in (a, b))
        if one is not two:
            groups.remove(two)
            one |= two
    edges = [(np.array([a]), np.array([b])) for a, b in pairs]
    assert classes(20, edges).tolist() == [min(next(g for g in groups if i in g)) for i in range(20)]


SHAPES = [
    ([2, 12, 3, 5], [2, 180]),
    ([2, 12, 5], [2, 3, 4, 5]),
    ([2, 12, 5], [2, 4, 15]),
    ([2, 3, 4, 5], [2, 12, 5]),
    ([24, 5], [2, 12, 5]),
]


@pytest.mark.parametrize(("before", "after"), SHAPES)
@pytest.mark.parametrize("axis", [0, 1])
def test_slices_are_the_same_entries(before: list[int], after: list[int], axis: int) -> None:
    """Taking a slice out before and after the change of shape gives the same entries in the same order."""
    found = slices(before, after, axis)
    assert found is not None
    entries = np.arange(np.prod(before))
    for gone in range(int(found.old.max()) + 1):
        old = np.compress(found.old != gone, entries.reshape(before), axis=axis)
        new = np.compress(found.new != gone, entries.reshape(after), axis=found.axis)
        assert (old.reshape(-1) == new.reshape(-1)).all()


def test_shapes_that_do_not_meet() -> None:
    assert slices([2, 12, 16], [2, 8, 24], 1) is None


def test_open_sizes_are_primes_of_their_own(make: Make) -> None:
    model = make("g (float[N,3,H,W] x) => (float y) { y = Relu (x) }", {})
    (n, c, h, w) = sizes(model)[0]["y"]
    assert c == 3 and len({n, h, w}) == 3 and min(n, h, w) > 10000


def test_computed_shapes(make: Make) -> None:
    """A shuffle whose sizes are computed, as an older exporter writes it."""
    text = """g (float[N,6,4,4] x) => (float y) {
        s = Shape (x) c = Gather (s, one) h = Div (c, two) n = Gather (s, zero) t = Concat <axis = 0> (n, two, h, four)
        r = Reshape (x, t) y = Relu (r) }"""
    tensors = {"one": np.array([1]), "two": np.array([2]), "zero": np.array([0]), "four": np.array([16])}
    assert sizes(make(text, tensors))[0]["y"][1:] == [2, 3, 16]


def test_operands_look_through(make: Make) -> None:
    """Transpose and DequantizeLinear: the array that the layer sees, and which axis of each tensor follows which of its own."""
    text = """g (float[N,4] x) => (float[N,3] y) { d = DequantizeLinear <axis = 0> (q, s, z) t = Transpose (d) y = MatMul (x, t) }"""
    q = np.arange(12, dtype=np.int8).reshape(3, 4)
    model = make(text, {"q": q, "s": np.array([1, 2, 3], np.float32), "z": np.zeros(3, np.int8)})
    found = find_operand(View(model), (2, 1))
    assert found is not None and not found.plain
    assert (found.array == (q * np.array([[1], [2], [3]])).T).all()
    assert {leaf.slot: dict(leaf.axes) for leaf in found.leaves} == {(0, 0): {1: 0, 0: 1}, (0, 1): {1: 0}, (0, 2): {1: 0}}


def test_operand_with_another_reader(make: Make) -> None:
    text = "g (float[N,4] x) => (float[N,3] y) { t = Transpose (w) u = MatMul (x, t) v = MatMul (x, t) y = Add (u, v) }"
    assert find_operand(View(make(text, {"w": np.ones((3, 4), np.float32)})), (1, 1)) is None


def test_live_is_what_somebody_reads(make: Make) -> None:
    text = "g (float[N,3,4,4] x) => (float[N,2,4,4] y) { a = Conv (x, w) r = Relu (a) y = Conv (r, v) }"
    v = np.ones((2, 4, 1, 1), np.float32)
    v[:, 2] = 0
    facts = analyse(make(text, {"w": np.ones((4, 3, 1, 1), np.float32), "v": v}))
    assert facts.live["a"].tolist() == facts.live["r"].tolist() == [True, True, False, True]


def test_table(make: Make) -> None:
    text = "g (float[N,3,4,4] x) => (float[N,4,4,4] y) { a = Conv (x, w) r = Relu (a) o = own.Thing (r) y = Relu (o) }"
    w = np.ones((4, 3, 1, 1), np.float32)
    w[1] = 0
    rows = describe(make(text, {"w": w}))
    assert rows[0] == Row("a", 1, 4, 1, 0, "Thing o: own Thing has no rule")
    assert [row.value for row in rows] == ["a", "r", "o", "y"] and rows[2].channels is None
    assert rows[2].reason == "Thing o: own Thing has no rule"
