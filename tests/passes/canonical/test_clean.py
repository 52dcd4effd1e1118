"""clean: wires cut, constants lifted, shape arithmetic folded, names kept, batch freed."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import numpy_helper, parser
from onnx.reference import ReferenceEvaluator

from rnpc.passes.canonical.batch import follow
from rnpc.passes.canonical.clean import clean

HEAD = '<ir_version: 8, opset_import: ["" : 17]>\n'


def cleaned(text: str) -> tuple[onnx.ModelProto, list[str]]:
    model = parser.parse_model(HEAD + text)
    result = clean(model)
    assert model == parser.parse_model(HEAD + text)
    return result, [node.op_type for node in result.graph.node]


def constants(model: onnx.ModelProto) -> dict[str, np.ndarray]:
    return {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}


def same(text: str, *shapes: tuple[int, ...]) -> None:
    """Outputs are what they were."""
    model = parser.parse_model(HEAD + text)
    for shape in shapes:
        feeds = {"x": np.random.default_rng(0).standard_normal(shape).astype(np.float32)}
        wanted, found = (ReferenceEvaluator(m).run(None, feeds) for m in (model, clean(model)))
        for a, b in zip(wanted, found, strict=True):
            np.testing.assert_array_equal(a, b)


def test_wires_are_cut_and_constants_lifted() -> None:
    text = """g (float[n, 2] x) => (float[n, 2] y) {
        a = Identity (x)
        two = Constant <value_float = 2.0> ()
        pair = Constant <value_ints = [1, 2]> ()
        b = Mul (a, two)
        c, mask = Dropout (b)
        d = Identity (c)
        y = Relu (d)
    }"""
    model, ops = cleaned(text)
    assert ops == ["Mul", "Relu"]
    assert [list(n.input) for n in model.graph.node] == [["x", "two"], ["b"]]
    assert set(constants(model)) == {"two"}
    assert constants(model)["two"].shape == ()
    same(text, (3, 2))


def test_graph_outputs_keep_their_names() -> None:
    _, ops = cleaned("g (float[n, 2] x) => (float[n, 2] y, float[n, 2] z) { a = Relu (x)  y = Identity (a)  z = Identity (x) }")
    assert ops == ["Relu", "Identity", "Identity"]


def test_identity_of_a_weight_is_the_weight() -> None:
    model, ops = cleaned("g (float[n, 2] x) => (float[n, 2] y) <float[2] w = {1, 2}> { v = Identity (w)  a = Mul (x, w)  y = Add (a, v) }")
    assert ops == ["Mul", "Add"]
    assert list(model.graph.node[1].input) == ["a", "w"]


def test_weights_are_not_folded() -> None:
    model, ops = cleaned("g (float[n, 2] x) => (float[n, 2] y) <float[2, 2] w = {1, 2, 3, 4}> { t = Transpose (w)  y = MatMul (x, t) }")
    assert ops == ["Transpose", "MatMul"]
    assert set(constants(model)) == {"w"}


def test_dropout_in_training_mode_stays() -> None:
    _, ops = cleaned("g (float[n, 2] x) => (float[n, 2] y) <float r = {0.5}, bool t = {1}> { a = Dropout (x, r, t)  y = Relu (a) }")
    assert ops == ["Dropout", "Relu"]


def test_dropout_whose_mask_is_read_stays() -> None:
    _, ops = cleaned("g (float[n, 2] x) => (float[n, 2] y, bool[n, 2] m) { a, mask = Dropout (x)  y = Relu (a)  m = Not (mask) }")
    assert ops == ["Dropout", "Relu", "Not"]


SHUFFLE = """g (float[n, 4, 6, 6] x) => (float[a, b, c, d] y)
    <int64 zero = {0}, int64 one = {1}, int64 two = {2}, int64[1] head = {0}, int64[2] tail = {6, 6}, int64[1] pair = {2}> {
        s = Shape (x)
        n = Gather <axis = 0> (s, zero)
        c = Gather <axis = 0> (s, one)
        half = Div (c, two)
        n1 = Unsqueeze (n, head)
        h1 = Unsqueeze (half, head)
        five = Concat <axis = 0> (n1, pair, h1, tail)
        last = Constant <value_ints = [4]> ()
        rest = Slice (s, pair, last)
        v = Reshape (x, five)
        t = Transpose <perm = [0, 2, 1, 3, 4]> (v)
        c1 = Unsqueeze (c, head)
        back = Concat <axis = 0> (n1, c1, rest)
        y = Reshape (t, back)
    }"""


def test_known_sizes_fold_out_of_a_half_known_shape() -> None:
    model, ops = cleaned(SHUFFLE)
    assert ops == ["Reshape", "Transpose", "Reshape"]
    targets = [constants(model)[node.input[1]] for node in model.graph.node if node.op_type == "Reshape"]
    np.testing.assert_array_equal(targets[0], [-1, 2, 2, 6, 6])
    np.testing.assert_array_equal(targets[1], [-1, 4, 6, 6])
    same(SHUFFLE, (1, 4, 6, 6), (3, 4, 6, 6))


def test_a_shape_with_two_unknown_sizes_stays() -> None:
    text = """g (float[n, 4, h, 6] x) => (float[a, b, c] y) <int64[1] zero = {0}, int64[1] two = {2}, int64[1] rest = {24}> {
        s = Shape (x)
        n = Gather <axis = 0> (s, zero)
        h = Gather <axis = 0> (s, two)
        t = Concat <axis = 0> (n, h, rest)
        y = Reshape (x, t)
    }"""
    _, ops = cleaned(text)
    assert ops == ["Shape", "Gather", "Gather", "Concat", "Reshape"]
    same(text, (2, 4, 3, 6))


def test_operators_of_other_domains_are_left_alone() -> None:
    head = HEAD.replace('"" : 17', '"" : 17, "my" : 1')
    text = """g (float[n, 2] x) => (float[n, 2] y) <float[2] w = {1, 2}> {
        a = my.Identity (x)  b = my.Dropout (a)  c = my.Cast (w)  y = Add (b, c) }"""
    result = clean(parser.parse_model(head + text))
    assert [(node.domain, node.op_type) for node in result.graph.node] == [
        ("my", "Identity"),
        ("my", "Dropout"),
        ("my", "Cast"),
        ("", "Add"),
    ]


def test_a_constant_of_another_domain_is_none() -> None:
    head = HEAD.replace('"" : 17', '"" : 17, "my" : 1')
    text = "g (float[n, 2] x) => (float[n, 2] y) { c = my.Constant <value_float = 2.0> () y = Add (x, c) }"
    assert [node.op_type for node in clean(parser.parse_model(head + text)).graph.node] == ["Constant", "Add"]


def test_constant_of_shape_becomes_a_weight() -> None:
    text = """g (float[n, 3] x) => (float[n, 2] y) <int64[2] size = {3, 2}> {
        w = ConstantOfShape <value = float[1] {0.5}> (size)
        y = MatMul (x, w)
    }"""
    model, ops = cleaned(text)
    assert ops == ["MatMul"]
    np.testing.assert_array_equal(constants(model)["w"], np.full((3, 2), 0.5, np.float32))


def test_settings_fold_though_they_are_float_vectors() -> None:
    text = """g (float[n, 1, 2, 2] x) => (float[n, 1, 4, 4] y) <float[2] a = {1, 1}, float[2] b = {2, 2}, float[0] roi = {}> {
        scales = Concat <axis = 0> (a, b)
        y = Resize <mode = "nearest"> (x, roi, scales)
    }"""
    model, ops = cleaned(text)
    assert ops == ["Resize"]
    np.testing.assert_array_equal(constants(model)["scales"], [1, 1, 2, 2])


def test_inputs_with_a_default_are_closed() -> None:
    model, _ = cleaned("g (float[n, 2] x, float[2] w) => (float[n, 2] y) <float[2] w = {1, 2}> { y = Mul (x, w) }")
    assert [v.name for v in model.graph.input] == ["x"]


def test_local_functions_are_inlined() -> None:
    text = HEAD.replace('"" : 17', '"" : 17, "own" : 1') + "g (float[n, 2] x) => (float[n, 2] y) { y = own.twice (x) }\n"
    text += '<domain: "own", opset_import: ["" : 17]> twice (a) => (b) { c = Relu (a)  b = Add (c, c) }'
    assert [n.op_type for n in clean(parser.parse_model(text)).graph.node] == ["Relu", "Add"]


def test_bodies_keep_what_they_read() -> None:
    text = """g (float[n, 2] x, bool cond) => (float[n, 2] y) {
        a = Identity (x)
        b = Relu (x)
        y = If (cond) <then_branch = t () => (float[n, 2] u) { u = Abs (a) }, else_branch = e () => (float[n, 2] v) { v = Neg (b) }>
    }"""
    _, ops = cleaned(text)
    assert ops == ["Identity", "Relu", "If"]


def test_a_fixed_batch_is_freed() -> None:
    text = """g (float[1, 1, 2, 2] x) => (float[1, 2] y) <int64[2] flat = {1, 4}, float[4, 2] w = {1, 2, 3, 4, 5, 6, 7, 8}> {
        f = Reshape (x, flat)
        y = MatMul (f, w)
    }"""
    model, _ = cleaned(text)
    found = ReferenceEvaluator(model).run(None, {"x": np.ones((5, 1, 2, 2), np.float32)})[0]
    assert found.shape == (5, 2)


@pytest.mark.parametrize(
    ("start", "after", "batch", "place"),
    [
        (1, [1, 512], 1, 0),
        (17, [17, 12, 64], 1, 1),
        (17, [17, 768], 1, 0),
        (17, [34, 768], 2, 0),
        (17, [17, 24, 64], 2, 1),
        (1, [64, 49, 96], 1, 0),
        (5, [3, 7], 2, None),
    ],
)
def test_where_the_batch_goes(start: int, after: list[int], batch: int, place: int | None) -> None:
    assert follow(start, after, batch) == place
