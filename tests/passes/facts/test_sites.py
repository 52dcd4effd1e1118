"""Which values are filter sites, and which are not."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from onnx import ModelProto, NodeProto, numpy_helper, parser

from rnpc.passes.canonical.canonical import canonical
from rnpc.passes.facts.sites import find_places, find_sites

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
    assert (site.value, site.kind, site.node, site.axis, site.weight_axis, site.channels) == ("h", "linear", 1, 2, 1, 5)


@pytest.mark.parametrize("attributes", ["beta = 0.5", "transA = 1"])
def test_gemm_that_changes_its_bias_or_batch(attributes: str, make: Make, random: Random) -> None:
    text = f"g (float[4,4] x) => (float[4,2] y) {{ h = Gemm <{attributes}> (x, w, b) y = Gemm (h, u) }}"
    assert sites(make(text, {"w": random(4, 4), "b": random(4), "u": random(4, 2)})) == []


def test_single_channel_and_integer_weights(make: Make, random: Random) -> None:
    text = graph("a = Conv (x, w) c = Conv (a, u) ", "c")
    assert sites(make(text, {"w": random(1, 3, 1, 1), "u": np.ones((4, 1, 1, 1), np.int8), "g": random(4, 2)})) == []


DENSE = {
    "gemm": ("h = Gemm (f, w, b)", False, "w", 1),
    "gemm transB": ("h = Gemm <transB = 1> (f, w, b)", True, "w", 0),
    "gemm by a Transpose": ("t = Transpose (w) h = Gemm (f, t, b)", True, "w", 0),
    "gemm transB by a Transpose": ("t = Transpose <perm = [1, 0]> (w) h = Gemm <transB = 1> (f, t, b)", False, "w", 1),
    "gemm, bias of one row": ("h = Gemm (f, w, row)", False, "w", 1),
    "gemm without bias": ("h = Gemm (f, w)", False, "w", 1),
    "matmul": ("m = MatMul (f, w) h = Add (m, b)", False, "w", 1),
    "matmul, bias first": ("m = MatMul (f, w) h = Add (b, m)", False, "w", 1),
    "matmul, bias of one row": ("m = MatMul (f, w) h = Add (m, row)", False, "w", 1),
    "matmul by a Transpose": ("t = Transpose <perm = [1, 0]> (w) m = MatMul (f, t) h = Add (m, b)", True, "w", 0),
    "behind Identity": ("i = Identity (w) j = Identity (b) m = MatMul (f, i) h = Add (m, j)", False, "w", 1),
    "behind Cast": ("i = Cast <to = 1> (half) j = Cast <to = 1> (b) m = MatMul (f, i) h = Add (m, j)", False, "half", 1),
    "behind Identity, Cast, Transpose": (
        "i = Identity (half) c = Cast <to = 1> (i) t = Transpose <perm = [1, 0]> (c) h = Gemm (f, t, b)",
        True,
        "half",
        0,
    ),
}


@pytest.mark.parametrize("way", DENSE)
def test_every_way_to_write_a_dense_layer(way: str, make: Make, random: Random) -> None:
    text, turned, name, axis = DENSE[way]
    weight = random(7, 12) if turned else random(12, 7)
    tensors = {"w": weight, "half": weight.astype(np.float16), "b": random(7), "row": random(1, 7), "u": random(7, 2)}
    model = make(f"g (float[N,3,2,2] x) => (float[N,2] y) {{ f = Flatten (x) {text} r = Relu (h) y = Gemm (r, u) }}", tensors)
    (site,) = find_sites(model)
    assert (site.value, site.kind, site.axis, site.channels, site.weight, site.weight_axis) == ("h", "linear", 1, 7, name, axis)
    (place,) = find_places(model)
    assert model.graph.node[place.weight[0]].input[place.weight[1]] in (name, "i")


def test_an_axis_of_unknown_rank_counts_from_the_end(make: Make, random: Random) -> None:
    text = "g (float[N,4] x, int64[k] s) => (float[N,2] y) { a = Reshape (x, s) m = MatMul (a, w) h = Add (m, b) y = MatMul (h, u) }"
    (site,) = find_sites(make(text, {"w": random(4, 5), "b": random(5), "u": random(5, 2)}))
    assert site.axis == -1


@pytest.mark.parametrize("text", ["m = MatMul (f, c) h = Add (m, b) n = MatMul (f, c) k = Add (n, h)", "h = Gemm (f, c) k = Add (h, c)"])
def test_weights_that_share_a_cast_are_no_sites(text: str, make: Make, random: Random) -> None:
    tensors = {"half": random(5, 5).astype(np.float16), "b": random(5), "u": random(5, 2)}
    assert sites(make(f"g (float[5,5] f) => (float[5,2] y) {{ c = Cast <to = 1> (half) {text} y = MatMul (k, u) }}", tensors)) == []


def test_a_cast_weight_without_bias_is_no_site(make: Make, random: Random) -> None:
    text = graph("t = Cast <to = 1> (w) c = Conv (x, t) ", "c")
    assert sites(make(text, {"w": random(4, 3, 1, 1).astype(np.float16), "g": random(4, 2)})) == []


def test_operators_of_other_domains_are_no_sites(make: Make, random: Random) -> None:
    text = graph("n = own.BatchNormalization (x, s, b, m, v) c = own.Conv (n, w) a = Conv (c, w) ", "a")
    assert sites(make(text, {"w": random(3, 3, 1, 1), "g": random(3, 2), **norm(random, 3)})) == [("a", "conv", "w", None)]


def test_nodes_in_any_order(net: ModelProto) -> None:
    wanted = sites(net)
    nodes = [NodeProto.FromString(node.SerializeToString()) for node in net.graph.node][::-1]
    del net.graph.node[:]
    net.graph.node.extend(nodes)
    assert sites(net) == wanted


def test_an_output_of_features_hides_no_site(net: ModelProto) -> None:
    wanted = sites(net)
    net.graph.output.add(name="k")
    net.graph.output.add(name="q")
    assert sites(net) == wanted


def test_a_second_head_is_a_head(net: ModelProto) -> None:
    net.graph.node.add(op_type="Gemm", input=["k", "w3", "b3"], output=["z"])
    net.graph.output.add(name="z")
    assert sites(net) == sites(net) and "z" not in [name for name, *_ in sites(net)]


FUNCTION = """<ir_version: 8, opset_import: ["" : 17, "my" : 1]> g (float[N,3,6,6] x) => (float[N,2] y) {
    a = my.Block (x, w, b) d = my.Block (a, w2, b2) e = my.Block (d, w2, b2) c = Conv (e, k) p = GlobalAveragePool (c) f = Flatten (p)
    y = Gemm (f, g)
}
<domain: "my", opset_import: ["" : 17]> Block (i, s, t) => (o) { c = Conv (i, s, t) o = Relu (c) }"""


def test_sites_inside_functions_are_those_of_the_studied_network(random: Random) -> None:
    model = parser.parse_model(FUNCTION)
    tensors = {
        "w": random(4, 3, 1, 1),
        "b": random(4),
        "w2": random(4, 4, 1, 1),
        "b2": random(4),
        "k": random(5, 4, 1, 1),
        "g": random(5, 2),
    }
    model.graph.initializer.extend(numpy_helper.from_array(value, name) for name, value in tensors.items())
    own, studied = find_sites(model), find_sites(canonical(model))
    assert [(s.weight, s.bias, s.op_type, s.node) for s in own] == [("w", "b", "Conv", 0), ("k", None, "Conv", 3)]  # w2 serves two calls
    assert {s.value for s in own} <= {s.value for s in studied} and len(studied) == 4
    places = find_places(model)
    assert [(p.weight, p.bias) for p in places] == [((0, 1), (0, 2)), ((3, 1), (3, 2))]


@pytest.mark.parametrize("field", ["input", "output"])
@pytest.mark.parametrize("kept", [0, 1])
def test_nodes_that_lack_inputs_or_outputs_are_no_sites(field: str, kept: int, make: Make, random: Random) -> None:
    """They raised IndexError."""
    tensors = {"w": random(4, 3, 1, 1), "v": random(4, 4), "d": random(4), "g": random(4, 2), **norm(random, 4)}
    text = graph(
        "i = Identity (w) c = Conv (x, i) n = BatchNormalization (c, s, b, m, v2) t = Transpose <perm = [1, 0]> (v) e = GlobalMaxPool (n) "
        "k = Flatten (e) o = MatMul (k, t) a = Add (o, d) r = Relu (a) u = Reshape (r, shape) ",
        "u",
    )
    whole = make(text, tensors)
    for place in range(len(whole.graph.node)):
        model = make(text, tensors)
        del getattr(model.graph.node[place], field)[kept:]
        assert len(find_sites(model)) <= 3
