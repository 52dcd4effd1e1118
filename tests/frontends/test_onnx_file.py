"""ONNX in: what is read, and one line for what is refused."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import ModelProto, TensorProto, helper, numpy_helper

from rnpc.errors import InputRefused
from rnpc.frontends import onnx_file

Classifier = Callable[..., ModelProto]
Write = Callable[..., Path]


def refused(path: Path, match: str) -> None:
    with pytest.raises(InputRefused, match=match) as error:
        onnx_file.load(path)
    assert "\n" not in str(error.value) and error.value.exit_code == 3


def test_program_holds_the_bytes(classifier: Classifier, write: Write) -> None:
    path = write(classifier())
    program = onnx_file.load(path)
    assert program.source == path.read_bytes() and program.name == "m.onnx"
    assert program.sha256 == hashlib.sha256(program.source).hexdigest()
    assert [s.value for s in program.sites] == ["c"] and program.notes == () and program.labels is None


@pytest.mark.parametrize("opset", [7, 13, 26])
def test_opsets(opset: int, classifier: Classifier, write: Write) -> None:
    assert onnx_file.load(write(classifier(opset=opset))).signature.classes == 3


@pytest.mark.parametrize("opset", [6, 27])
def test_other_opsets(opset: int, classifier: Classifier, write: Write) -> None:
    refused(write(classifier(opset=opset)), f"opset {opset} is not supported; export with opset 7 to 26")


def test_initializers_as_inputs_of_old_files(classifier: Classifier, write: Write) -> None:
    model = classifier(ir=3, opset=8)
    model.graph.input.extend(helper.make_tensor_value_info(t.name, t.data_type, t.dims) for t in model.graph.initializer)
    assert onnx_file.load(write(model)).signature.input == "x"


def test_files_that_are_none(tmp_path: Path, write: Write) -> None:
    refused(tmp_path / "none.onnx", "no such file")
    refused(tmp_path, "a directory")
    refused(write(b""), "an empty file")
    refused(write(b"hello, this is text"), "not an ONNX file")
    refused(write(helper.make_model(helper.make_graph([], "g", [], []))), "no nodes")
    refused(write(onnx.ModelProto(ir_version=8)), "not an ONNX file|truncated")


@pytest.mark.parametrize("part", [0.1, 0.5, 0.9, 0.999])
def test_truncated(part: float, classifier: Classifier, write: Write) -> None:
    data = classifier().SerializeToString()
    refused(write(data[: int(len(data) * part)]), "truncated or damaged ONNX file")


def test_two_copies_of_data(classifier: Classifier, write: Write) -> None:
    model = classifier()
    model.graph.initializer.append(model.graph.initializer[0])
    refused(write(model), "tensor w has two copies of its data")


def test_nothing_prunable(write: Write) -> None:
    model = onnx.parser.parse_model(
        '<ir_version: 8, opset_import: ["": 17]> g (float[N,3,2,2] x) => (float[N,3] y) { f = Flatten (x) y = Gemm (f, v) }'
    )
    model.graph.initializer.append(numpy_helper.from_array(np.ones((12, 3), np.float32), "v"))
    refused(write(model), "nothing prunable")


def test_external_data(classifier: Classifier, tmp_path: Path) -> None:
    want = classifier()
    onnx.save(classifier(), tmp_path / "e.onnx", save_as_external_data=True, location="e.onnx.data", size_threshold=0)
    program = onnx_file.load(tmp_path / "e.onnx")
    assert program.notes[0].startswith("external data inlined: 4 tensors of e.onnx.data")
    assert program.sha256 == hashlib.sha256(program.source).hexdigest()
    assert [numpy_helper.to_array(t).tolist() for t in program.model.graph.initializer] == [
        numpy_helper.to_array(t).tolist() for t in want.graph.initializer
    ]
    (tmp_path / "e.onnx.data").unlink()
    refused(tmp_path / "e.onnx", "external data file is missing: e.onnx.data")


@pytest.mark.parametrize(
    ("key", "value", "labels"),
    [
        ("names", "{0: 'a', 1: 'b', 2: 'c'}", ("a", "b", "c")),
        ("id2label", '{"2": "c", "0": "a", "1": "b"}', ("a", "b", "c")),
        ("labels", '["a", "b", "c"]', ("a", "b", "c")),
        ("classes", "a, b,c", ("a", "b", "c")),
        ("class_names", "a\nb\nc\n", ("a", "b", "c")),
        ("names", '["a", "b"]', None),
        ("names", "{0: 'a', 2: 'c', 5: 'd'}", None),
        ("names", "{'x': 'a'}", None),
        ("author", '["a", "b", "c"]', None),
    ],
)
def test_labels_in_metadata(key: str, value: str, labels: tuple[str, ...] | None, classifier: Classifier, write: Write) -> None:
    model = classifier()
    model.metadata_props.add(key=key, value=value)
    assert onnx_file.load(write(model)).labels == labels


def test_warnings_become_notes(classifier: Classifier, write: Write) -> None:
    model = classifier()
    model.graph.initializer.append(TensorProto(name="left", data_type=1, dims=[1], raw_data=bytes(4)))
    assert onnx_file.load(write(model)).notes == ("unused initializers: left",)


@pytest.mark.parametrize(("field", "said"), [("input", "has 0 inputs, at least 2"), ("output", "has 0 outputs, at least 1")])
def test_a_node_without_what_it_needs_is_refused(field: str, said: str, classifier: Classifier, write: Write) -> None:
    model = classifier()
    model.graph.node[1].name = "first"
    del getattr(model.graph.node[1], field)[:]
    refused(write(model), f"m.onnx: node first \\(Conv\\) {said}")
