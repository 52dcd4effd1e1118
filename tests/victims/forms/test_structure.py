"""What makes a form is there: operators, types, shapes, and where the weights are."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto

from rnpc.errors import InputRefused, UsageError
from rnpc.passes.facts.sites import find_sites
from rnpc.passes.facts.view import View
from rnpc.runtime import Session
from rnpc.victims import forms

OPERATORS: dict[str, dict[str, int]] = {
    "fp16": {"Cast": 2, "Conv": 20},
    "bf16-weights": {"Cast": 21, "Conv": 20},
    "int8-qdq": {"Conv": 20, "Relu": 0},
    "int8-qoperator": {"QLinearConv": 20, "Conv": 0},
    "nhwc": {"Transpose": 1},
    "nhwc-inside": {"Transpose": 1 + 17 * 2 + 8 * 3},
    "uint8": {"Cast": 1, "Sub": 1, "Div": 1},
    "constants": {"Constant": 44},
    "shared": {"BatchNormalization": 20, "Identity": 48},
    "functions": {"ConvRelu": 9, "Conv": 11},
    "softmax": {"Softmax": 1},
    "logsoftmax": {"LogSoftmax": 1},
    "sigmoid": {"Sigmoid": 1},
    "temperature": {"Div": 1},
    "reshape": {"Reshape": 2, "Flatten": 1},
    "head-conv-after": {"Conv": 21, "Gemm": 0, "ReduceMean": 1},
    "head-conv-before": {"Conv": 21, "Gemm": 0, "GlobalAveragePool": 1, "ReduceMean": 0},
    "matmul": {"MatMul": 1, "Gemm": 0},
}


def rewritten(name: str, demo: Any) -> onnx.ModelProto:
    """The demo in a form."""
    model: onnx.ModelProto = onnx.load_from_string(forms.rewrite(demo.folded, name, given=demo.given))
    return model


@pytest.mark.parametrize("name", OPERATORS)
def test_operators(name: str, demo: Any) -> None:
    found = Counter(node.op_type for node in rewritten(name, demo).graph.node)
    assert {op: found[op] for op in OPERATORS[name]} == OPERATORS[name]


def test_sites_of_the_folded_file_keep_their_names(demo: Any) -> None:
    sites = [site.value for site in find_sites(onnx.load_from_string(demo.folded))]
    for name in ("fp16", "nhwc", "uint8", "fixed-batch", "constants", "inputs", "softmax", "matmul", "head-conv-after", "unsorted"):
        found = [site.value for site in find_sites(rewritten(name, demo))]
        assert sorted(found) == sorted(sites), name


def test_input(demo: Any) -> None:
    for name, kind, sizes in (
        ("nhwc", TensorProto.FLOAT, [0, 28, 28, 1]),
        ("uint8", TensorProto.UINT8, [0, 1, 28, 28]),
        ("fixed-batch", TensorProto.FLOAT, [1, 1, 28, 28]),
    ):
        value = rewritten(name, demo).graph.input[0].type.tensor_type
        assert (value.elem_type, [d.dim_value for d in value.shape.dim]) == (kind, sizes)


def test_grey_levels_come_back(demo: Any) -> None:
    pixels = np.load(Path(__file__).parents[3] / "models" / "demo" / "clean.npz")["images"][:64].transpose(0, 3, 1, 2)
    assert (forms.find("uint8").feed(demo.images, demo.given) == pixels).all()


def test_external(demo: Any, load: Callable[[forms.Files], onnx.ModelProto]) -> None:
    files = forms.files(demo.folded, "external", file="net.onnx")
    bare = onnx.load_from_string(files["net.onnx"])
    outside = [t for t in bare.graph.initializer if t.data_location == TensorProto.EXTERNAL]
    assert len(outside) == 42 and not any(t.raw_data for t in outside)
    assert all(int(entry.value) % 64 == 0 for t in outside for entry in t.external_data if entry.key == "offset")
    want = {t.name: onnx.numpy_helper.to_array(t) for t in onnx.load_from_string(demo.folded).graph.initializer}
    found = {t.name: onnx.numpy_helper.to_array(t) for t in load(files).graph.initializer}
    assert want.keys() == found.keys() and all(np.array_equal(want[name], found[name]) for name in want)


def test_inputs_lists_all_initializers(demo: Any) -> None:
    model = rewritten("inputs", demo)
    assert model.ir_version == 3 and len(model.graph.input) == 1 + len(model.graph.initializer)


def test_shared_tensors_have_many_readers(demo: Any) -> None:
    view = View(rewritten("shared", demo))
    scales = {view.root(node.input[1]) for node in view.nodes if node.op_type == "BatchNormalization"}
    assert len(scales) == 4 and min(view.uses(name) for name in scales) >= 5


def test_features_are_what_the_last_layer_reads(demo: Any) -> None:
    scores, features = rewritten("features", demo).graph.output
    assert scores.name == "logits" and [d.dim_value for d in features.type.tensor_type.shape.dim] == [0, 64]


def test_preprocessing_that_moved_inside_is_stated_no_more() -> None:
    stated = {"do_resize": True, "do_rescale": True, "rescale_factor": 1 / 255, "do_normalize": True, "image_mean": [0.1], "image_std": [1]}
    assert forms.find("uint8").config(stated) == {"do_resize": True, "do_rescale": False, "do_normalize": False}
    assert forms.find("nhwc").config(stated) == stated


def test_refusals(demo: Any) -> None:
    with pytest.raises(UsageError, match="choose one of folded, batchnorm"):
        forms.rewrite(demo.folded, "int4")
    with pytest.raises(UsageError, match="two files"):
        forms.rewrite(demo.folded, "external")
    with pytest.raises(UsageError, match="calibrated on images"):
        forms.rewrite(demo.folded, "int8-qdq")
    with pytest.raises(InputRefused, match="do not come from a Gemm"):
        forms.rewrite(forms.rewrite(demo.folded, "softmax"), "head-conv-before")


POOLED = """
<ir_version: 9, opset_import: ["" : 17]>
net (float[N, 2, 4, 4] x) => (float[N, 3] y)
<float[3, 8] w = {0, 1, 2, 3, 4, 5, 6, 7, 0, 1, 2, 3, 4, 5, 6, 7, 0, 0, 0, 0, 1, 1, 1, 1}>
{
    m = MaxPool <kernel_shape = [2, 2], strides = [2, 2]> (x)
    f = Flatten <axis = 1> (m)
    y = Gemm <transB = 1> (f, w)
}
"""


AVERAGED = """
<ir_version: 9, opset_import: ["" : 17]>
net (float[N, 2, 4, 4] x) => (float[N, 3] y)
<float[3, 2] w = {0, 1, 2, 3, 4, 5}, float[3] b = {1, 2, 3}>
{
    m = ReduceMean <axes = [-1, -2], keepdims = 0> (x)
    y = Gemm <transB = 1> (m, w, b)
}
"""


@pytest.mark.parametrize(("name", "operators"), [("after", ["GlobalAveragePool", "Conv"]), ("before", ["Conv", "GlobalAveragePool"])])
def test_a_mean_without_kept_axes_is_a_pooling(name: str, operators: list[str]) -> None:
    data = onnx.parser.parse_model(AVERAGED).SerializeToString()
    found = onnx.load_from_string(forms.rewrite(data, f"head-conv-{name}"))
    assert [node.op_type for node in found.graph.node] == [*operators, "Flatten"]
    images = np.random.default_rng(0).standard_normal((3, 2, 4, 4)).astype(np.float32)
    first, second = (Session(m, device="cpu").run(images) for m in (data, found.SerializeToString()))
    assert np.abs(first - second).max() < 1e-5


def test_a_map_of_many_pixels_gives_a_wide_kernel_and_no_head_before_its_pooling() -> None:
    data = onnx.parser.parse_model(POOLED).SerializeToString()
    found = onnx.load_from_string(forms.rewrite(data, "head-conv-after"))
    assert [node.op_type for node in found.graph.node] == ["MaxPool", "Conv", "Flatten"]
    assert [list(t.dims) for t in found.graph.initializer] == [[3, 2, 2, 2], [3]]
    images = np.random.default_rng(0).standard_normal((3, 2, 4, 4)).astype(np.float32)
    first, second = (Session(m.SerializeToString(), device="cpu").run(images) for m in (onnx.load_from_string(data), found))
    assert np.abs(first - second).max() < 1e-5
    with pytest.raises(InputRefused, match="no average pooling"):
        forms.rewrite(data, "head-conv-before")
    with pytest.raises(InputRefused, match="no Conv has a Relu"):
        forms.rewrite(data, "functions")
