"""The intake refuses what cannot be studied, and names what channel pruning cannot remove."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
import pytest
from onnx import ModelProto, TensorProto, helper

from rnpc.errors import InputRefused
from rnpc.passes.facts.intake import check, check_original, warnings
from rnpc.passes.wire import provenance
from rnpc.plan import Plan


def test_a_plain_network_has_none(net: ModelProto) -> None:
    assert warnings(net) == []


def test_where_on_constants(make: Callable[..., ModelProto], random: Callable[..., np.ndarray]) -> None:
    text = "g (float[N,4] x, bool[N,4] c) => (float[N,4] y, float[N,4] z) { y = Where (c, x, k) z = Where (c, x, fill) }"
    (line,) = warnings(make(text, {"k": random(4), "fill": np.zeros(1, np.float32)}))
    assert line == "Where on constants: y; channel pruning does not remove logic"


def test_control_flow_and_custom_operators(make: Callable[..., ModelProto]) -> None:
    model = make("g (float[N,4] x, bool c) => (float[N,4] y) { u = own.Trick (x) y = Abs (u) }", {})
    branch = helper.make_graph([helper.make_node("Neg", ["x"], ["o"])], "b", [], [helper.make_tensor_value_info("o", 1, None)])
    model.graph.node.append(helper.make_node("If", ["c"], ["z"], name="gate", then_branch=branch, else_branch=branch))
    lines = warnings(model)
    assert lines == ["control flow: If (gate); channel pruning does not remove logic", "custom operators: own.Trick"]


def test_copies_unused_and_training(make: Callable[..., ModelProto], random: Callable[..., np.ndarray]) -> None:
    text = "g (float[N,4,2,2] x) => (float[N,4,2,2] y) { y, m2, v2 = BatchNormalization <training_mode = 1> (x, s, s, s, s) }"
    model = make(text, {"s": random(4), "left": random(4)})
    model.graph.initializer[0].float_data.append(1.0)
    model.graph.initializer.append(TensorProto(name="left", data_type=1, dims=[0]))
    model.graph.sparse_initializer.add()
    found = warnings(model)
    assert [line.split(":")[0] for line in found] == [
        "BatchNormalization in training mode",
        "tensors with two copies of data",
        "unused initializers",
        "sparse initializers",
    ]
    assert "left, s" in found[1]


def test_long_lists_are_cut(make: Callable[..., ModelProto]) -> None:
    model = make("g (float[N] x) => (float[N] y) { y = Abs (x) }", {f"t{k}": np.ones(1, np.float32) for k in range(5)})
    assert warnings(model) == ["unused initializers: t0, t1, t2 and 2 more"]


def test_a_hardened_file(net: ModelProto) -> None:
    declared = provenance.entries(Plan("rnp", 0, "0", "1"))
    data = provenance.append(net.SerializeToString(), declared)
    assert "seal intact" in warnings(onnx.load_from_string(data))[0]
    broken = provenance.append(net.SerializeToString(), {**declared, "rnpc.data": "2"})
    assert "seal BROKEN" in warnings(onnx.load_from_string(broken))[0]


def test_functions(net: ModelProto) -> None:
    net.functions.append(
        helper.make_function("own", "F", ["a"], ["b"], [helper.make_node("Abs", ["a"], ["b"])], [helper.make_opsetid("", 17)])
    )
    assert warnings(net) == ["model functions: F"]


CLASSIFIER = "g (float[N,3,6,6] x) => (float[N,5] y) {{ {} }}"
BODY = "c = Conv (x, w) r = Relu (c) p = GlobalAveragePool (r) f = Flatten (p) z = Gemm (f, u) "


def refused(model: ModelProto, match: str, output: str | None = None) -> None:
    with pytest.raises(InputRefused, match=match) as error:
        check(model, "m.onnx", output)
    assert str(error.value).startswith("m.onnx: ") and "\n" not in str(error.value) and "; " in str(error.value)


@pytest.fixture
def classifier(make: Callable[..., ModelProto], random: Callable[..., np.ndarray]) -> Callable[[str], ModelProto]:
    """classifier(body of the graph) -> model; w, u, norms a to d and a scale are at hand."""
    tensors = {"w": random(4, 3, 3, 3), "u": random(4, 5), "s": np.array(0.1, np.float32), "o": np.array(0, np.uint8)}

    def build(text: str) -> ModelProto:
        model = make(CLASSIFIER.format(text), {**tensors, **{name: np.abs(random(4)) for name in "efgh"}})
        return model

    return build


def test_plain_networks_pass(net: ModelProto, classifier: Callable[[str], ModelProto]) -> None:
    check(net, "m")
    check(classifier(BODY + "y = Softmax (z)"), "m")
    net.graph.output.insert(0, helper.make_tensor_value_info("p", 1, None))
    check(net, "m", "y")


def test_training_mode_on_the_way(classifier: Callable[[str], ModelProto]) -> None:
    norm = "c = Conv (x, w) n, m, v = BatchNormalization <training_mode = 1> (c, e, f, g, h) p = GlobalAveragePool (n) f1 = Flatten (p) "
    refused(classifier(norm + "y = Gemm (f1, u)"), r"node n \(BatchNormalization\) is in training mode; call model.eval\(\)")


def test_control_flow_on_the_way_and_beside_it(classifier: Callable[[str], ModelProto]) -> None:
    model = classifier(BODY + "y = Softmax (q)")
    branch = helper.make_graph([helper.make_node("Neg", ["z"], ["b"])], "b", [], [helper.make_tensor_value_info("b", 1, None)])
    model.graph.node.insert(5, helper.make_node("If", ["k"], ["q"], name="gate", then_branch=branch, else_branch=branch))
    model.graph.initializer.append(helper.make_tensor("k", TensorProto.BOOL, [], [True]))
    refused(model, r"node gate \(If\) is control flow on the way to the scores; export the model without control flow")
    model.graph.node[6].input[0] = "z"
    check(model, "m")


QDQ = "q = QuantizeLinear (x, s, o) d = DequantizeLinear (q, s, o) " + BODY.replace("Conv (x", "Conv (d") + "y = Softmax (z)"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "q, s1, o1 = DynamicQuantizeLinear (x) i = Cast <to = 1> (q) " + BODY.replace("Conv (x", "Conv (i") + "y = Relu (z)",
            r"dynamically \(node q, DynamicQuantizeLinear\)",
        ),
        (
            "q = QuantizeLinear (x, s, o) i = ConvInteger (q, o) e1 = Cast <to = 1> (i) " + BODY.replace("Conv (x", "Conv (e1"),
            r"dynamically \(node i, ConvInteger\)",
        ),
        (BODY + "y = own.QLinearSoftmax (z)", r"by an operator of own that is not supported \(node y, QLinearSoftmax\)"),
        (BODY + "y = own.MatMulNBits (z)", r"by an operator of own that is not supported \(node y, MatMulNBits\)"),
        (QDQ.replace("QuantizeLinear (x", "QuantizeLinear <block_size = 2> (x"), r"in blocks \(node q, QuantizeLinear\)"),
        (QDQ.replace("(x, s, o)", "(x, s, t)"), r"to a type that is not supported \(node q, QuantizeLinear\)"),
        ("i = own.QLinearConv <channels_last = 1> (x) " + BODY.replace("(x,", "(i,") + "y = Relu (z)", "with channels last"),
    ],
)
def test_forms_of_quantised_models_that_are_not_read(text: str, said: str, classifier: Callable[[str], ModelProto]) -> None:
    model = classifier(text + ("" if "y = " in text else "y = Relu (z)"))
    model.graph.initializer.append(TensorProto(name="t", data_type=TensorProto.FLOAT8E4M3FN, dims=[], raw_data=b"\0"))
    if "channels" in said:
        model.graph.node[0].domain = "com.microsoft"
    refused(model, rf"the model is quantised {said}.*; harden the float model and quantise the hardened one")


def test_static_quantisation_passes(classifier: Callable[[str], ModelProto]) -> None:
    check(classifier(QDQ), "m")


def test_scores_without_a_linear_layer(classifier: Callable[[str], ModelProto]) -> None:
    refused(classifier("p = GlobalAveragePool (x) y = Flatten (p)"), "no Conv, Gemm or MatMul with stored weights makes the scores y")


def test_nothing_prunable(classifier: Callable[[str], ModelProto]) -> None:
    refused(
        classifier("p = GlobalAveragePool (x) f1 = Flatten (p) y = Gemm (f1, u)"), "nothing prunable: no Conv, BatchNormalization or hidden"
    )


def test_a_chosen_class(classifier: Callable[[str], ModelProto]) -> None:
    refused(classifier(BODY + "y = ArgMax (z)"), r"output y is the class that node y \(ArgMax\) chose, and no scores")


def test_circles_and_missing_values(classifier: Callable[[str], ModelProto]) -> None:
    model = classifier(BODY + "y = Softmax (z)")
    model.graph.node[1].input[0] = "p"
    refused(model, "lies on a circle; export it again")
    model.graph.node[1].input[0] = "nowhere"
    refused(model, r"node r \(Relu\) reads nowhere, which nothing makes")


def test_a_function_is_judged_by_what_it_does(classifier: Callable[[str], ModelProto]) -> None:
    model = classifier(BODY + "y = own.If (z)")
    body = [helper.make_node("Softmax", ["a"], ["b"])]
    model.functions.append(helper.make_function("own", "If", ["a"], ["b"], body, [helper.make_opsetid("", 17)]))
    check(model, "m")


def test_what_rnpc_wrote(net: ModelProto) -> None:
    check_original(net, "m")
    helper.set_model_props(net, {"rnpc.version": "1"})
    with pytest.raises(InputRefused, match="m: the model was already hardened by rnpc; harden the original instead"):
        check_original(net, "m")
    check(net, "m")
