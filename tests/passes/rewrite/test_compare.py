"""Every kind of difference is found, and named by where it is."""

from __future__ import annotations

import re
from collections.abc import Callable

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import ModelProto, TensorProto, helper, numpy_helper

from rnpc.passes.rewrite.compare import compare
from rnpc.passes.wire import walk as wire

Change = Callable[[ModelProto], object]


def lines(net: ModelProto, change: Change) -> list[str]:
    other = ModelProto.FromString(net.SerializeToString())
    change(other)
    return [str(d) for d in compare(net.SerializeToString(), other.SerializeToString())]


def raw(model: ModelProto, name: str, data: bytes) -> None:
    next(t for t in model.graph.initializer if t.name == name).raw_data = data


def node(model: ModelProto, output: str) -> onnx.NodeProto:
    return next(n for n in model.graph.node if output in n.output)


def move(model: ModelProto) -> None:
    first = model.graph.node.pop(0)
    model.graph.node.insert(1, first)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda m: raw(m, "b0", np.float32([1, 2, 3, 4]).tobytes()), "tensor: graph / tensor b0: declared .*, found 1.0 at byte .*4 of 4"),
        (
            lambda m: node(m, "a").attribute[0].ints.__setitem__(0, 0),
            r"attribute: .*node a \(Conv\) / attribute pads / ints\[0\]: .*found 0",
        ),
        (lambda m: node(m, "a").attribute[0].ints.append(1), "attribute pads / ints: declared 4 values, found 5 values"),
        (lambda m: node(m, "a").attribute.pop(), r"attribute: .*node a \(Conv\) / attribute pads: declared present, found missing"),
        (lambda m: node(m, "r").input.__setitem__(0, "x"), r"edge: .*node r \(Relu\) / input: declared 'a', found 'x'"),
        (lambda m: node(m, "r").output.__setitem__(0, "z"), r"edge: .*node r \(Relu\) / output: declared 'r', found 'z'"),
        (lambda m: setattr(node(m, "r"), "name", "n"), r"value: .*node r \(Relu\) / name: declared none, found 'n'"),
        (lambda m: setattr(node(m, "r"), "op_type", "Abs"), r"value: .*node r \(Relu\) / op_type: declared 'Relu', found 'Abs'"),
        (
            lambda m: m.graph.node.add(op_type="Abs", input=["x"], output=["w"]),
            r"node: graph / node w \(Abs\): declared absent, found added",
        ),
        (lambda m: m.graph.node.pop(), r"node: graph / node y \(Gemm\): declared present, found missing"),
        (move, "order: graph / node .*: declared number . of its kind, found at another place"),
        (lambda m: m.metadata_props.add(key="k", value="v"), "metadata: metadata k: declared absent, found added"),
        (lambda m: m.graph.metadata_props.add(key="k", value="v"), "metadata: graph / metadata k: declared absent, found added"),
        (lambda m: setattr(m.opset_import[0], "version", 18), "value: opset ai.onnx / version: declared 17, found 18"),
        (lambda m: setattr(m, "ir_version", 9), "value: ir_version: declared 8, found 9"),
        (lambda m: m.graph.initializer[0].dims.__setitem__(0, 1), r"value: graph / tensor w0 / dims\[0\]: declared 4, found 1"),
        (lambda m: setattr(m.graph.initializer[0], "doc_string", "d"), "value: graph / tensor w0 / doc_string: declared none, found 'd'"),
        (lambda m: m.graph.initializer.add(name="more"), "tensor: graph / tensor more: declared absent, found added"),
        (lambda m: m.functions.add(name="f", domain="own"), "function: function f: declared absent, found added"),
        (lambda m: m.graph.output[0].type.tensor_type.shape.dim.pop(), r"dim\[1\]: declared present, found missing"),
        (lambda m: m.MergeFromString(wire.block(4000, b"abc")), "unknown field: field 4000: declared none, found 7 bytes"),
        (lambda m: node(m, "a").MergeFromString(wire.block(4000, b"")), r"unknown field: graph / node a \(Conv\) / field 4000"),
        (lambda m: raw(m, "b0", bytes(8)), r"tensor: graph / tensor b0: declared 16 bytes of data \(raw\), found 8 bytes"),
    ],
)
def test_each_kind(change: Change, said: str, net: ModelProto) -> None:
    found = lines(net, change)
    assert len(found) == 1 and re.search(said, found[0]), found


def test_several_at_once(net: ModelProto) -> None:
    def change(model: ModelProto) -> None:
        model.graph.node.insert(0, helper.make_node("Abs", ["x"], ["w"]))
        raw(model, "b3", bytes(20))
        del model.graph.node[3]

    assert [line.split(":")[0] for line in lines(net, change)] == ["node", "node", "tensor"]


def test_data_outside_and_stored_otherwise(net: ModelProto) -> None:
    def outside(model: ModelProto) -> None:
        model.graph.initializer[0].ClearField("raw_data")
        model.graph.initializer[0].data_location = TensorProto.EXTERNAL
        model.graph.initializer[0].external_data.add(key="location", value="f")

    def numbers(model: ModelProto) -> None:
        tensor = model.graph.initializer[1]
        tensor.CopyFrom(helper.make_tensor(tensor.name, 1, tensor.dims, numpy_helper.to_array(tensor).ravel().tolist()))

    assert lines(net, outside)[0].startswith("external data: graph / tensor w0: declared data inside the file, found data in a file")
    assert lines(net, numbers) == ["tensor: graph / tensor b0: declared 16 bytes of data (raw), found 16 bytes (float)"]


def test_the_byte_that_is_named(net: ModelProto) -> None:
    data = bytearray(net.SerializeToString())
    tensor = wire.index(bytes(data))["w1"]
    data[tensor.chunks[0].start + 4 * 7 + 2] ^= 1
    (found,) = compare(net.SerializeToString(), bytes(data))
    assert f"at byte {tensor.chunks[0].start + 28} (1 of 216 elements differ, the first is 7)" in found.found


def test_the_same_content_in_other_bytes(net: ModelProto) -> None:
    data = net.SerializeToString()
    assert data[:2] == b"\x08\x08"
    long_way = b"\x08\x88\x00" + data[2:]
    assert [d.found for d in compare(data, long_way)] == ["written in another way"]
    field = next(wire.fields(data, 0, len(data)))
    moved = data[field.end :] + data[: field.end]
    assert [d.kind for d in compare(data, moved)] == ["encoding"]


@settings(max_examples=150)
@given(st.data())
def test_any_byte(data: st.DataObject) -> None:
    """Whatever byte is changed, there is a difference, or the bytes are no message."""
    model = helper.make_model(
        helper.make_graph(
            [helper.make_node("Conv", ["x", "w"], ["y"], pads=[1, 1, 1, 1], name="conv")],
            "g",
            [helper.make_tensor_value_info("x", 1, [1, 1, 4, 4])],
            [helper.make_tensor_value_info("y", 1, [1, 1, 4, 4])],
            [numpy_helper.from_array(np.ones((1, 1, 3, 3), np.float32), "w")],
        )
    )
    model.metadata_props.add(key="k", value="v")
    source = model.SerializeToString()
    at = data.draw(st.integers(0, len(source) - 1))
    other = bytearray(source)
    other[at] ^= data.draw(st.integers(1, 255))
    try:
        found = compare(source, bytes(other))
    except (wire.WireError, IndexError) as error:
        assert isinstance(error, wire.WireError)
        return
    assert found and all(str(d) for d in found)
