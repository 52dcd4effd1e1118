"""Input, layout, sizes and classes as the graph states them."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from onnx import ModelProto, TensorProto, helper, parser

from rnpc.errors import InputRefused, UsageError
from rnpc.frontends.signature import infer
from rnpc.program import Signature

Classifier = Callable[..., ModelProto]
SWAP = "i = Transpose <perm = [0, 3, 1, 2]> (x)"


def test_plain(classifier: Classifier) -> None:
    assert infer(classifier(), "m") == Signature("x", "y", "float32", "NCHW", 3, 8, 8, None, 3)


@pytest.mark.parametrize(
    ("shape", "head", "want"),
    [
        ("2,3,8,9", "i = Identity (x)", ("NCHW", 3, 8, 9, 2)),
        ("N,3,H,W", "i = Identity (x)", ("NCHW", 3, None, None, None)),
        ("N,8,9,3", SWAP, ("NHWC", 3, 8, 9, None)),
        ("N,H,W,C", SWAP, ("NHWC", 3, None, None, None)),
        ("N,3,9,3", SWAP, ("NHWC", 3, 3, 9, None)),
        ("N,H,W,C", "k = Identity (x) " + SWAP.replace("(x)", "(k)"), ("NHWC", 3, None, None, None)),
        ("N,C,H,W", "i = Identity (x)", ("NCHW", 3, None, None, None)),
    ],
)
def test_layouts(shape: str, head: str, want: tuple[object, ...], classifier: Classifier) -> None:
    found = infer(classifier(shape=shape, head=head), "m")
    assert (found.layout, found.channels, found.height, found.width, found.batch) == want


def test_classes_by_shape_inference(classifier: Classifier) -> None:
    assert infer(classifier(out="N,K"), "m").classes == 3
    model = classifier()
    model.graph.output[0].type.tensor_type.ClearField("shape")
    assert infer(model, "m").classes == 3


def test_half_precision(classifier: Classifier) -> None:
    model = classifier()
    for value in (model.graph.input[0], model.graph.output[0]):
        value.type.tensor_type.elem_type = TensorProto.FLOAT16
    assert infer(model, "m").dtype == "float16"


def test_what_is_no_classifier(classifier: Classifier) -> None:
    def refused(model: ModelProto, match: str) -> None:
        with pytest.raises(InputRefused, match=match):
            infer(model, "m")

    refused(classifier(shape="N,192"), r"input x is float \[\?, 192\], not an image batch")
    wide = classifier(out="N,4,8,8")
    wide.graph.output[0].name = "r"
    refused(wide, r"output r is \[\?, 4, 6, 6\], not class scores")
    whole = classifier()
    whole.graph.input[0].type.tensor_type.elem_type = TensorProto.INT64
    refused(whole, r"input x is int64 \[\?, 3, 8, 8\]")
    two = classifier()
    two.graph.input.append(helper.make_tensor_value_info("z", 1, [1]))
    refused(two, r"2 inputs \(x, z\) where one is expected")
    one = classifier(out="N,1")
    one.graph.initializer[2].dims[1] = 1
    refused(one, r"output y is \[\?, 1\]")


def test_scores_with_two_axes_of_one() -> None:
    text = """<ir_version: 8, opset_import: ["" : 17]> g (float[N,3,8,8] x) => (float[N,4,1,1] y) {
        c = Conv (x, w)  y = GlobalAveragePool (c) }"""
    model = parser.parse_model(text)
    model.graph.initializer.append(helper.make_tensor("w", TensorProto.FLOAT, [4, 3, 1, 1], [1.0] * 12))
    found = infer(model, "m")
    assert (found.output, found.classes) == ("y", 4)


def test_of_several_outputs_the_one_of_scores_or_the_named_one(classifier: Classifier) -> None:
    model = classifier()
    model.graph.output.insert(0, helper.make_tensor_value_info("r", TensorProto.FLOAT, None))
    assert infer(model, "m").output == "y"
    model.graph.output.append(helper.make_tensor_value_info("f", TensorProto.FLOAT, ["N", 4]))
    with pytest.raises(InputRefused, match=r"3 outputs \(r, y, f\), of which 2 could be scores; say with --output-name NAME"):
        infer(model, "m")
    assert (infer(model, "m", "f").output, infer(model, "m", "f").classes) == ("f", 4)
    with pytest.raises(UsageError, match=r"--output-name: the model has no output z; choose one of r, y, f"):
        infer(model, "m", "z")
    with pytest.raises(InputRefused, match=r"output r is .*not class scores"):
        infer(model, "m", "r")


def test_a_chosen_class_is_no_score(classifier: Classifier) -> None:
    model = classifier()
    model.graph.node.append(helper.make_node("ArgMax", ["y"], ["label"], name="choose", axis=1, keepdims=0))
    model.graph.output[0].CopyFrom(helper.make_tensor_value_info("label", TensorProto.INT64, ["N"]))
    with pytest.raises(InputRefused, match=r"output label is the class that node choose \(ArgMax\) chose, and no scores"):
        infer(model, "m")


def test_classes_behind_shape_arithmetic(classifier: Classifier) -> None:
    model = classifier(out="N,K")
    model.graph.node[-1].output[0] = "z"
    one, rest = helper.make_tensor("one", TensorProto.INT64, [1], [0]), helper.make_tensor("rest", TensorProto.INT64, [1], [3])
    model.graph.initializer.extend([one, rest])
    model.graph.node.extend(
        [
            helper.make_node("Shape", ["x"], ["s"]),
            helper.make_node("Gather", ["s", "one"], ["n"]),
            helper.make_node("Concat", ["n", "rest"], ["t"], axis=0),
            helper.make_node("Reshape", ["z", "t"], ["y"]),
        ]
    )
    model.graph.output[0].type.tensor_type.ClearField("shape")
    assert infer(model, "m").classes == 3
