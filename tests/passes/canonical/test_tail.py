"""The same network with and without a tail is one studied network, bit for bit, with the same sites."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
import pytest
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper, parser

from rnpc.errors import InputRefused
from rnpc.passes.canonical.canonical import canonical
from rnpc.passes.canonical.tail import Tail, scores_name, without_tail
from rnpc.passes.driver import apply
from rnpc.passes.facts.sites import find_sites

Run = Callable[..., dict[str, np.ndarray]]
X = np.random.default_rng(5).normal(size=(3, 3, 6, 6)).astype(np.float32)
NUMBERS = {"two": np.array(2, np.float32), "one": np.array([0.5], np.float32), "below": np.array(-3, np.float32)}
SHAPES = {"flat": np.array([-1, 5], np.int64), "wide": np.array([0, 5, 1, 1], np.int64), "ends": np.array([2, 3], np.int64)}
TAILS = {
    "softmax": "y = Softmax (z)",
    "softmax of axis 1": "y = Softmax <axis = 1> (z)",
    "log-softmax": "y = LogSoftmax (z)",
    "sigmoid": "y = Sigmoid (z)",
    "temperature by Div": "t = Div (z, two) y = Softmax (t)",
    "temperature by Mul": "t = Mul (one, z) y = Softmax (t)",
    "shift": "t = Add (z, below) u = Sub (t, two) y = Sigmoid (u)",
    "identity": "y = Identity (z)",
    "dropout": "d = Dropout (z) y = Softmax (d)",
    "reshape": "s = Softmax (z) y = Reshape (s, flat)",
    "there and back": "w = Reshape (z, wide) s = Softmax <axis = 1> (w) y = Squeeze (s, ends)",
    "transposed": "w = Reshape (z, wide) t = Transpose <perm = [0, 2, 3, 1]> (w) y = Flatten (t)",
    "half and back": "hh = Cast <to = 10> (z) s = Softmax (hh) y = Cast <to = 1> (s)",
    "softmax by hand": """m = ReduceMax <axes = [1]> (z) d = Sub (z, m) e = Exp (d) ax = Constant <value_ints = [1]> ()
        s = ReduceSum (e, ax) y = Div (e, s)""",
    "log of softmax": "s = Softmax (z) y = Log (s)",
}
NO_TAILS = {
    "softmax over half": "w = Reshape (z, pairs) s = Softmax (w) y = Flatten (s)",
    "negative number": "y = Mul (z, below)",
    "number minus scores": "y = Sub (two, z)",
    "one number a class": "y = Mul (z, scale)",
    "relu": "y = Relu (z)",
    "another's largest": "qq = Abs (z) m = ReduceMax <axes = [1]> (qq) y = Sub (z, m)",
    "a sum that may be negative": "ax = Constant <value_ints = [1]> () m = ReduceSum (z, ax) y = Div (z, m)",
    "a mean over images": "m = ReduceMean <axes = [0]> (z) y = Sub (z, m)",
    "another domain": "y = own.Softmax (z)",
    "moved axes": "w = Reshape (z, pairs) t = Transpose <perm = [0, 2, 1]> (w) y = Flatten (t)",
}


def with_tail(net: ModelProto, text: str, classes: int = 5) -> ModelProto:
    """The network with its scores called z and a tail from them to y."""
    model = ModelProto()
    model.CopyFrom(net)
    model.graph.node[-1].output[0] = "z"
    tail = parser.parse_graph(f"g (float[N,{classes}] z) => (float[N,{classes}] y) {{ {text} }}")
    model.graph.node.extend(tail.node)
    more = {**NUMBERS, **SHAPES, "pairs": np.array([0, classes // 2, 2]), "scale": np.arange(1, classes + 1, dtype=np.float32)}
    read = {name for node in tail.node for name in node.input}
    model.graph.initializer.extend(numpy_helper.from_array(value, name) for name, value in more.items() if name in read)
    return model


def tensors(model: ModelProto) -> dict[str, bytes]:
    return {tensor.name: numpy_helper.to_array(tensor).tobytes() for tensor in model.graph.initializer}


def steps(model: ModelProto) -> list[tuple[str, list[str]]]:
    return [(node.op_type, list(node.input)) for node in model.graph.node]


@pytest.mark.parametrize("way", TAILS)
def test_a_tail_changes_nothing(way: str, net: ModelProto, run: Run) -> None:
    model = with_tail(net, TAILS[way])
    found, wanted = canonical(model), canonical(net)
    assert tensors(found) == tensors(wanted) and steps(found) == steps(wanted)
    assert find_sites(model) == find_sites(net) and find_sites(found) == find_sites(wanted)
    assert [value.name for value in found.graph.output] == ["z"]
    np.testing.assert_array_equal(run(found, X, ["z"])["z"], run(wanted, X, ["y"])["y"])
    onnx.checker.check_model(found, full_check=True)
    assert canonical(found) == found


@pytest.mark.parametrize("way", TAILS)
def test_the_tail_keeps_the_order(way: str, net: ModelProto, run: Run) -> None:
    found = run(with_tail(net, TAILS[way]), X, ["y", "z"])
    best = found["z"].reshape(3, -1).argmax(1)
    dressed = found["y"].reshape(3, -1)
    assert (dressed[np.arange(3), best] == dressed.max(1)).all()


@pytest.mark.parametrize("way", NO_TAILS)
def test_what_is_no_tail_stays(way: str, net: ModelProto, random: Callable[..., np.ndarray]) -> None:
    even = ModelProto()
    even.CopyFrom(net)
    for tensor in even.graph.initializer:
        if tensor.name in ("w3", "b3"):
            tensor.CopyFrom(numpy_helper.from_array(random(*tensor.dims[:-1], 6), tensor.name))
    model = with_tail(even, NO_TAILS[way], 6)
    assert [node.op_type for node in canonical(model).graph.node][-1] == [node.op_type for node in model.graph.node][-1]


def test_opset_12_softmax_runs_over_all_axes_from_its_own_on(make: Callable[..., ModelProto], random: Callable[..., np.ndarray]) -> None:
    text = "g (float[N,3,6,6] x) => (float[N,4,1,1] y) {{ c = Conv (x, w) p = GlobalAveragePool (c) y = Softmax {} (p) }}"
    for attribute, cut in (("", True), ("<axis = 1>", True), ("<axis = 2>", False)):
        found = canonical(make(text.format(attribute), {"w": random(4, 3, 1, 1)}, opset=12))
        assert ("Softmax" not in {node.op_type for node in found.graph.node}) == cut


def test_scores_with_axes_of_one_are_flattened(make: Callable[..., ModelProto], random: Callable[..., np.ndarray], run: Run) -> None:
    body = "g (float[N,3,6,6] x) => (float[{}] y) {{ c = Conv (x, w) "
    w = {"w": random(4, 3, 1, 1)}
    bare = make(body.format("N,4,1,1") + "y = GlobalAveragePool (c) }", w)
    flat = make(body.format("N,4") + "p = GlobalAveragePool (c) f = Flatten (p) y = Softmax (f) }", w)
    found = [canonical(model) for model in (bare, flat)]
    names = [model.graph.output[0].name for model in found]
    assert names == ["y:scores", "p:scores"] and [scores_name(name) for name in names] == ["y", "p"]
    values = [run(model, X, [name])[name] for model, name in zip(found, names, strict=True)]
    assert values[0].shape == (3, 4) and (values[0] == values[1]).all()
    assert all(canonical(model) == model for model in found)


def test_the_output_that_is_asked_for(net: ModelProto) -> None:
    net.graph.output.insert(0, helper.make_tensor_value_info("f", TensorProto.FLOAT, None))
    assert [v.name for v in without_tail(net, "y").graph.output] == ["y"]
    assert [v.name for v in without_tail(net).graph.output] == ["p:scores"]  # the first one, and a Flatten is no layer
    with pytest.raises(InputRefused, match="pass tail: no output z among f, y"):
        without_tail(net, "z")


def test_a_chosen_class_is_refused(net: ModelProto) -> None:
    net.graph.node.append(NodeProto(op_type="ArgMax", name="choose", input=["y"], output=["kk"]))
    net.graph.output[0].CopyFrom(helper.make_tensor_value_info("kk", TensorProto.INT64, None))
    with pytest.raises(InputRefused, match=r"pass tail: node choose \(ArgMax\) gives the chosen class, and no scores"):
        without_tail(net)


def test_edits_name_what_went(net: ModelProto) -> None:
    model = with_tail(net, TAILS["temperature by Div"])
    model.graph.node[-2].name = "cooler"
    cut = apply([Tail()], model).edits
    assert [(edit["kind"], edit["node"]) for edit in cut] == [("cut", "y"), ("cut", "cooler")]
