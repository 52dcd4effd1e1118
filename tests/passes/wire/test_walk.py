"""Byte offsets on the wire against what protobuf and numpy say."""

from __future__ import annotations

import contextlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import ModelProto, TensorProto, helper, numpy_helper

from rnpc.passes.wire import walk as wire
from rnpc.passes.wire.splice import Splice, renamed, rewrite, with_raw_data


def holder(*tensors: TensorProto) -> bytes:
    """A model with these initializers."""
    return bytes(helper.make_model(helper.make_graph([], "g", [], [], list(tensors))).SerializeToString())


def stored(kind: str, array: np.ndarray) -> TensorProto:
    """A float tensor kept in one of the wire's ways."""
    if kind == "raw":
        return numpy_helper.from_array(array, "t")
    if kind == "double":
        return helper.make_tensor("t", TensorProto.DOUBLE, array.shape, array.ravel().tolist())
    return helper.make_tensor("t", TensorProto.FLOAT, array.shape, array.ravel().tolist())


def unpacked(array: np.ndarray) -> bytes:
    """A model whose tensor holds float_data as single fields, as old writers did."""
    body = b"".join(wire.encode(4 << 3 | wire.FOUR) + value.tobytes() for value in array.ravel().astype("<f4"))
    dims = b"".join(wire.encode(1 << 3) + wire.encode(size) for size in array.shape)
    tensor = dims + wire.encode(2 << 3) + wire.encode(1) + body + wire.block(8, b"t")
    return wire.block(7, wire.block(5, tensor))


shapes = st.lists(st.integers(1, 4), min_size=1, max_size=4)


@given(shapes, st.sampled_from(["raw", "float", "double", "unpacked"]), st.data())
def test_spans_are_the_slice(shape: list[int], kind: str, data: st.DataObject) -> None:
    array = np.arange(1, 1 + np.prod(shape), dtype=np.float32).reshape(shape)
    source = unpacked(array) if kind == "unpacked" else holder(stored(kind, array))
    axis = data.draw(st.integers(0, len(shape) - 1))
    index = data.draw(st.integers(0, shape[axis] - 1))
    tensor = wire.index(source)["t"]
    found = b"".join(source[a:b] for a, b in tensor.spans(axis, index))
    kept = np.float64 if kind == "double" else np.float32
    assert found == array.take(index, axis).astype(kept).tobytes()
    assert tensor.dims == tuple(shape) and tensor.size == array.size


def test_first_axis_is_one_span() -> None:
    source = holder(numpy_helper.from_array(np.ones((4, 3, 2), np.float32), "t"))
    assert [b - a for a, b in wire.index(source)["t"].spans(0, 2)] == [24]


def test_constant_node_by_its_output() -> None:
    node = helper.make_node("Constant", [], ["c"], value=numpy_helper.from_array(np.float32([3, 4]), "inner"))
    model = helper.make_model(helper.make_graph([node], "g", [], []))
    source = model.SerializeToString()
    ((start, end),) = wire.index(source)["c"].spans(0, 1)
    assert np.frombuffer(source[start:end], np.float32) == 4


def test_external_and_doubled_data_are_seen() -> None:
    outside = TensorProto(name="e", data_type=1, dims=[2], data_location=TensorProto.EXTERNAL)
    both = TensorProto(name="d", data_type=1, dims=[1], raw_data=b"\0\0\0\0", float_data=[1.0])
    twice = [numpy_helper.from_array(np.ones(1, np.float32), "s")] * 2
    tensors = wire.index(holder(outside, both, *twice))
    assert tensors["e"].storage == "external"
    assert tensors["d"].copies and tensors["s"].copies and not tensors["e"].copies


def test_unknown_fields_and_groups_are_stepped_over() -> None:
    group = wire.encode(99 << 3 | wire.GROUP) + wire.encode(5 << 3) + b"\x07" + wire.encode(99 << 3 | wire.END_GROUP)
    odd = wire.block(900, b"own") + group + wire.encode(901 << 3 | wire.EIGHT) + bytes(8) + wire.encode(902 << 3 | wire.FOUR) + bytes(4)
    source = odd + holder(numpy_helper.from_array(np.ones(1, np.float32), "t"))
    assert "t" in wire.index(source)


@given(st.integers(0, 400))
def test_truncated_is_refused_or_has_no_tensor(length: int) -> None:
    source = holder(numpy_helper.from_array(np.ones(100, np.float32), "t"))
    try:
        found = wire.index(source[: min(length, len(source) - 1)])
    except wire.WireError:
        return
    assert "t" in found  # cut behind the graph


@given(st.binary(max_size=200))
def test_any_bytes_end_in_an_error_or_an_index(data: bytes) -> None:
    with contextlib.suppress(wire.WireError, RecursionError):
        wire.index(data)


def test_split_graph_is_refused() -> None:
    source = holder()
    with pytest.raises(wire.WireError, match="2 graph fields"):
        wire.index(source + wire.block(7, b""))


def test_varint_limits() -> None:
    assert [wire.varint(wire.encode(n), 0)[0] for n in (0, 127, 128, 2**63)] == [0, 127, 128, 2**63]
    with pytest.raises(wire.WireError):
        wire.varint(b"\xff" * 11, 0)


@given(st.text(min_size=1, max_size=200), st.integers(1, 300))
def test_rewrite_moves_lengths_only(name: str, size: int) -> None:
    kept = numpy_helper.from_array(np.arange(size, dtype=np.float32), "kept")
    source = holder(numpy_helper.from_array(np.float32([1]), "t"), kept)
    graph = wire.graph(source)
    tensor = graph.tensors["t"]
    new = wire.block(5, renamed(source, tensor, name))
    model = ModelProto.FromString(rewrite(source, [Splice(tensor.path, tensor.message.key, tensor.message.end, new)]))
    assert [t.name for t in model.graph.initializer] == [name, "kept"]
    assert model.graph.initializer[1] == kept


def test_with_raw_data_replaces_every_other_kind() -> None:
    source = holder(helper.make_tensor("t", TensorProto.FLOAT, [2], [1.0, 2.0]))
    tensor = TensorProto.FromString(with_raw_data(source, wire.index(source)["t"], np.float32([3, 4]).tobytes()))
    assert numpy_helper.to_array(tensor).tolist() == [3, 4] and not tensor.float_data
