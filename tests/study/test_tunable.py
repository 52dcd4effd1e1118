"""A tunable network starts as the case's own, and comes back under the user's names, in the user's types, with the same answers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from rnpc.errors import InputRefused
from rnpc.frontends import onnx_file
from rnpc.passes.rewrite import weights as rewrite
from rnpc.program import Preprocessing
from rnpc.study.case import Case, Shares, draw
from rnpc.study.subject import prepare
from rnpc.study.surgery import Channel
from rnpc.study.tunable import Tunable
from rnpc.study.tuning import Schedule, tune

SIZE, CLASSES = 8, 3
Images = Callable[..., np.ndarray]


def network(form: str) -> onnx.ModelProto:
    """Normalisation, Conv, Relu, Conv, pooling, Gemm: `folded` (with biases), `batchnorm` behind the first Conv, `half` (its weights
    float16 behind Cast), `bare` (no bias), `tied` (both convolutions read one bias)."""
    rng = np.random.default_rng(0)
    tensors = {
        "mean": np.full((1, 3, 1, 1), 0.5, np.float32),
        "w1": rng.normal(size=(6, 3, 3, 3)).astype(np.float32),
        "b1": rng.normal(size=6).astype(np.float32),
        "w2": rng.normal(size=(6, 6, 3, 3)).astype(np.float32),
        "b2": rng.normal(size=6).astype(np.float32),
        "fc": rng.normal(size=(CLASSES, 6)).astype(np.float32),
        "gamma": rng.uniform(0.5, 1.5, 6).astype(np.float32),
        "beta": rng.normal(size=6).astype(np.float32),
        "mu": rng.normal(size=6).astype(np.float32),
        "var": rng.uniform(0.5, 1.5, 6).astype(np.float32),
    }
    first, second = {"bare": (["w1"], ["w2"]), "batchnorm": (["w1"], ["w2", "b2"]), "tied": (["w1", "b1"], ["w2", "b1"])}.get(
        form, (["w1", "b1"], ["w2", "b2"])
    )
    nodes = []
    if form == "half":
        for name in ("w1", "b1"):
            tensors[f"{name}.half"] = tensors.pop(name).astype(np.float16)
            nodes.append(helper.make_node("Cast", [f"{name}.half"], [name], to=TensorProto.FLOAT))
    nodes += [
        helper.make_node("Sub", ["x", "mean"], ["centred"]),
        helper.make_node("Conv", ["centred", *first], ["one"], pads=[1, 1, 1, 1]),
        helper.make_node("BatchNormalization", ["one", "gamma", "beta", "mu", "var"], ["normed"]),
        helper.make_node("Relu", ["normed" if form == "batchnorm" else "one"], ["active"]),
        helper.make_node("Conv", ["active", *second], ["two"], pads=[1, 1, 1, 1]),
        helper.make_node("GlobalAveragePool", ["two"], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["flat"]),
        helper.make_node("Gemm", ["flat", "fc"], ["scores"], transB=1),
    ]
    nodes = [node for node in nodes if form == "batchnorm" or node.op_type != "BatchNormalization"]
    used = {name for node in nodes for name in node.input}
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 3, SIZE, SIZE])
    y = helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["n", CLASSES])
    stored = [numpy_helper.from_array(value, name) for name, value in tensors.items() if name in used]
    graph = helper.make_graph(nodes, form, [x], [y], stored)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


@pytest.fixture
def case_for(bright: Images) -> Callable[[str], Case]:
    """case_for(form): a case on the network of that form."""

    def make(form: str) -> Case:
        program = onnx_file.program(form, network(form).SerializeToString())
        subject = prepare(program, Preprocessing(SIZE, SIZE), "cpu").exact()
        labels = np.arange(220) % CLASSES
        return draw(subject, bright(labels, CLASSES), labels, Shares(), 0, 0.02)

    return make


def scores(case: Case, model: onnx.ModelProto) -> np.ndarray:
    """What the canonical twin of a user's model answers on the judge images."""
    subject = prepare(onnx_file.program("again", model.SerializeToString()), case.subject.pre, "cpu").exact()
    return np.asarray(subject.scores(case.judge).numpy())


FORMS = {
    "folded": {"w1", "b1", "w2", "b2", "fc"},
    "batchnorm": {"w1", "gamma", "beta", "mu", "var", "w2", "b2", "fc"},
    "half": {"w1.half", "b1.half", "w2", "b2", "fc"},
    "bare": {"w1", "w2", "fc"},
    "tied": {"w1", "b1", "w2", "fc"},
}


@pytest.mark.parametrize("form", FORMS)
def test_untouched_it_is_the_same_network_and_nothing_has_to_be_written(form: str, case_for: Callable[[str], Case]) -> None:
    case = case_for(form)
    tunable = Tunable.of(case)
    assert torch.allclose(tunable.subject(case).scores(case.judge), case.subject.scores(case.judge), atol=2e-4)
    assert {home.name for home in tunable.homes.values()} == FORMS[form]
    loose = {name: value for name, value in tunable.tensors().items()}
    before = {t.name: numpy_helper.to_array(t) for t in case.subject.original.graph.initializer}
    assert all(np.allclose(value, before[name], atol=1e-3) for name, value in loose.items())


@pytest.mark.parametrize("form", FORMS)
def test_tuned_tensors_in_the_users_file_give_the_tuned_answers(form: str, case_for: Callable[[str], Case]) -> None:
    case = case_for(form)
    tunable = Tunable.of(case)
    tune(case, tunable, Schedule(epochs=3, rate=0.02, batch=16))
    tensors = tunable.tensors()
    assert set(tensors) == FORMS[form]
    source = case.subject.original.SerializeToString()
    written, _ = rewrite.replace(source, rewrite.declare(source, tensors), tensors)
    found = scores(case, onnx.load_model_from_string(written))
    wanted = tunable.subject(case).scores(case.judge).numpy()
    assert np.allclose(found, wanted, atol=0.02 if form == "half" else 1e-3) and not np.allclose(
        found, scores(case, case.subject.original), atol=0.05
    )


def test_a_folded_convolution_gets_its_batchnorm_back_and_one_without_a_bias_does_not(case_for: Callable[[str], Case]) -> None:
    restored = {form: [norm.value for norm in Tunable.of(case_for(form)).restored] for form in FORMS}
    assert restored == {"folded": ["one", "two"], "batchnorm": ["two"], "half": ["one", "two"], "bare": [], "tied": []}


def test_the_normalisation_before_the_first_layer_is_not_trained(case_for: Callable[[str], Case]) -> None:
    tunable = Tunable.of(case_for("folded"))
    assert not tunable.twin.parameter_of("mean").requires_grad and tunable.twin.parameter_of("w1").requires_grad


def test_silenced_channels_are_held(case_for: Callable[[str], Case]) -> None:
    case = case_for("folded")
    gone = (Channel("one", 2, 1.0, 0.25), Channel("one", 4, 1.0, 0.0))
    tunable = Tunable.of(case, gone)
    tune(case, tunable, Schedule(epochs=2, rate=0.02, batch=16))
    _, values = tunable.subject(case).values(case.judge.pixels(), ["one"], tunable.edits)
    assert (values["one"][:, 2] == 0.25).all() and (values["one"][:, 4] == 0).all()


def test_statistics_that_two_layers_share_are_refused(case_for: Callable[[str], Case], bright: Images) -> None:
    model = network("batchnorm")
    model.graph.node.insert(3, helper.make_node("BatchNormalization", ["normed", "gamma", "beta", "mu", "var"], ["again"]))
    model.graph.node[4].input[0] = "again"
    subject = prepare(onnx_file.program("shared", model.SerializeToString()), Preprocessing(SIZE, SIZE), "cpu").exact()
    labels = np.arange(220) % CLASSES
    with pytest.raises(InputRefused, match="serves several layers"):
        Tunable.of(draw(subject, bright(labels, CLASSES), labels, Shares(), 0, 0.02))


def test_weights_that_the_file_does_not_hold_as_floats_are_refused(case_for: Callable[[str], Case]) -> None:
    case = case_for("folded")
    model = network("folded")
    (place,) = [k for k, tensor in enumerate(model.graph.initializer) if tensor.name == "w2"]
    model.graph.initializer[place].CopyFrom(numpy_helper.from_array(np.zeros((6, 6, 3, 3), np.int8), "w2"))
    with pytest.raises(InputRefused, match="weight w2 is not stored as a dense tensor of float"):
        Tunable.of(replace(case, subject=replace(case.subject, original=model)))


def test_a_bias_of_zeros_is_no_folded_batchnorm(bright: Images) -> None:
    model = network("folded")
    (place,) = [k for k, tensor in enumerate(model.graph.initializer) if tensor.name == "b1"]
    model.graph.initializer[place].CopyFrom(numpy_helper.from_array(np.zeros(6, np.float32), "b1"))
    subject = prepare(onnx_file.program("zeros", model.SerializeToString()), Preprocessing(SIZE, SIZE), "cpu").exact()
    labels = np.arange(220) % CLASSES
    tunable = Tunable.of(draw(subject, bright(labels, CLASSES), labels, Shares(), 0, 0.02))
    assert [norm.value for norm in tunable.restored] == ["two"]
