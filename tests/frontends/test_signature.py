"""Input, layout, sizes and classes as the graph states them."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from onnx import ModelProto, TensorProto, helper

from rnpc.errors import InputRefused
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

    refused(classifier(shape="N,192"), r"input x is float \[\?, 192\], not a float image batch")
    flat = classifier(out="N,3,1,1")
    flat.graph.output[0].name = "p"
    refused(flat, r"output p is \[\?, 4, 1, 1\], not class scores")
    whole = classifier()
    whole.graph.input[0].type.tensor_type.elem_type = TensorProto.UINT8
    refused(whole, r"input x is uint8 \[\?, 3, 8, 8\]")
    two = classifier()
    two.graph.input.append(helper.make_tensor_value_info("z", 1, [1]))
    refused(two, r"2 inputs \(x, z\) where one is expected")
    features = classifier()
    features.graph.output.append(helper.make_tensor_value_info("f", 1, None))
    refused(features, r"2 outputs \(y, f\) where one is expected")
    one = classifier(out="N,1")
    one.graph.initializer[2].dims[1] = 1
    refused(one, r"output y is \[\?, 1\]")
