"""External data comes in from the model's folder only."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import AttributeProto, GraphProto, ModelProto, TensorProto, helper, numpy_helper

from rnpc.errors import InputRefused
from rnpc.passes.wire.external import inline, sources
from rnpc.passes.wire.walk import block


def save(net: ModelProto, folder: Path) -> bytes:
    onnx.save(net, folder / "m.onnx", save_as_external_data=True, location="m.onnx.data", size_threshold=0)
    return (folder / "m.onnx").read_bytes()


def test_all_tensors_come_in(net: ModelProto, tmp_path: Path) -> None:
    want = {t.name: numpy_helper.to_array(t) for t in net.graph.initializer}
    data, edits = inline(save(net, tmp_path), tmp_path, "m.onnx")
    model = onnx.load_from_string(data)
    onnx.checker.check_model(model)
    assert all((numpy_helper.to_array(t) == want[t.name]).all() for t in model.graph.initializer)
    assert [e["tensor"] for e in edits] == list(want) and {e["file"] for e in edits} == {"m.onnx.data"}


def test_nothing_to_do_is_the_same_bytes(net: ModelProto, tmp_path: Path) -> None:
    data = net.SerializeToString()
    assert inline(data, tmp_path, "m.onnx") == (data, [])


@pytest.mark.parametrize("location", ["../secret", "/etc/hostname", "a/../../secret", "", "C:/secret"])
def test_outside_the_folder(location: str, net: ModelProto, tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(bytes(10_000))
    folder = tmp_path / "model"
    folder.mkdir()
    model = onnx.load_from_string(save(net, folder))
    for tensor in model.graph.initializer:
        next(e for e in tensor.external_data if e.key == "location").value = location
    with pytest.raises(InputRefused, match="outside the model's folder"):
        inline(model.SerializeToString(), folder, "m.onnx")


def test_a_link_out_of_the_folder_is_called_one(net: ModelProto, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    data = save(net, folder)
    (folder / "m.onnx.data").rename(tmp_path / "moved")
    (folder / "m.onnx.data").symlink_to(tmp_path / "moved")
    with pytest.raises(InputRefused, match=r"behind a link out of the model's folder: 'm\.onnx\.data'"):
        inline(data, folder, "m.onnx")
    (tmp_path / "moved").rename(folder / "own")
    (folder / "m.onnx.data").unlink()
    (folder / "m.onnx.data").symlink_to(folder / "own")
    assert len(inline(data, folder, "m.onnx")[1]) == len(net.graph.initializer)


def test_names_that_no_file_can_have(net: ModelProto, tmp_path: Path) -> None:
    for name, said in (("x" * 300, "File name too long"), ("a\0b", "outside the model's folder")):
        model = onnx.load_from_string(save(net, tmp_path))
        next(e for e in model.graph.initializer[0].external_data if e.key == "location").value = name
        with pytest.raises(InputRefused, match=said):
            inline(model.SerializeToString(), tmp_path, "m.onnx")


def test_missing_and_short_files(net: ModelProto, tmp_path: Path) -> None:
    data = save(net, tmp_path)
    content = (tmp_path / "m.onnx.data").read_bytes()
    (tmp_path / "m.onnx.data").write_bytes(content[: len(content) // 2])
    with pytest.raises(InputRefused, match=r"ends outside m\.onnx\.data"):
        inline(data, tmp_path, "m.onnx")
    (tmp_path / "m.onnx.data").unlink()
    with pytest.raises(InputRefused, match="is missing"):
        inline(data, tmp_path, "m.onnx")


def test_offset_that_is_no_number(net: ModelProto, tmp_path: Path) -> None:
    model = onnx.load_from_string(save(net, tmp_path))
    next(e for e in model.graph.initializer[0].external_data if e.key == "offset").value = "x"
    with pytest.raises(InputRefused, match="unreadable"):
        inline(model.SerializeToString(), tmp_path, "m.onnx")


def test_runs_after_it(net: ModelProto, tmp_path: Path, run: Callable[..., dict[str, np.ndarray]]) -> None:
    x = np.ones((1, 3, 6, 6), np.float32)
    data, _ = inline(save(onnx.load_from_string(net.SerializeToString()), tmp_path), tmp_path, "m.onnx")
    assert (run(data, x, ["y"])["y"] == run(net, x, ["y"])["y"]).all()


def branch(held: TensorProto) -> ModelProto:
    """A model whose If holds a tensor in one branch."""
    out = helper.make_tensor_value_info("o", 1, [2])
    other = numpy_helper.from_array(np.zeros(2, np.float32), "zero")
    sides = [helper.make_graph([helper.make_node("Identity", [t.name], ["o"])], t.name, [], [out], [t]) for t in (held, other)]
    node = helper.make_node("If", ["c"], ["y"], then_branch=sides[0], else_branch=sides[1])
    c, y = helper.make_tensor_value_info("c", TensorProto.BOOL, []), helper.make_tensor_value_info("y", 1, [2])
    return helper.make_model(helper.make_graph([node], "g", [c], [y]), opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def function(held: TensorProto) -> ModelProto:
    """A model whose local function holds a tensor in a Constant."""
    nodes = [helper.make_node("Constant", [], ["k"], value=held), helper.make_node("Add", ["a", "k"], ["b"])]
    own = helper.make_function("own", "F", ["a"], ["b"], nodes, [helper.make_opsetid("", 17)])
    x, y = (helper.make_tensor_value_info(name, 1, [2]) for name in "xy")
    graph = helper.make_graph([helper.make_node("F", ["x"], ["y"], domain="own")], "g", [x], [y])
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("own", 1)]
    return helper.make_model(graph, opset_imports=opsets, functions=[own], ir_version=8)


def sparse(held: TensorProto) -> ModelProto:
    """A model with a sparse initializer."""
    model = branch(numpy_helper.from_array(np.ones(2, np.float32), "one"))
    indices = numpy_helper.from_array(np.array([0, 3]), "")
    model.graph.sparse_initializer.append(helper.make_sparse_tensor(held, indices, [5]))
    return model


@pytest.mark.parametrize("build", [branch, function, sparse])
def test_tensors_in_every_place_come_in(build: Callable[[TensorProto], ModelProto], tmp_path: Path) -> None:
    """onnxruntime reads such a tensor from the working directory, and a digest of the file alone would miss it."""
    want = np.float32([3, 4])
    (tmp_path / "w.bin").write_bytes(bytes(8) + want.tobytes())
    stays = numpy_helper.from_array(want, "held")
    held = TensorProto(name="held", data_type=1, dims=[2], data_location=TensorProto.EXTERNAL)
    for key, value in (("location", "w.bin"), ("offset", "8"), ("length", "8")):
        held.external_data.add(key=key, value=value)
    data = build(held).SerializeToString()
    assert sources(data, tmp_path) == [tmp_path / "w.bin"]
    whole, edits = inline(data, tmp_path, "m.onnx")
    assert edits == [{"kind": "inline_external_data", "tensor": "held", "file": "w.bin"}]
    assert whole == build(stays).SerializeToString()
    held.external_data[0].value = "../w.bin"
    with pytest.raises(InputRefused, match="outside the model's folder"):
        inline(build(held).SerializeToString(), tmp_path, "m.onnx")


def test_more_than_one_message_can_hold_is_refused_before_it_is_read(net: ModelProto, tmp_path: Path) -> None:
    data = save(net, tmp_path)
    with (tmp_path / "m.onnx.data").open("r+b") as file:
        file.truncate(3 * 2**30)  # a hole: takes no space
    model = onnx.load_from_string(data)
    for entry in model.graph.initializer[0].external_data:
        entry.value = str(3 * 2**30) if entry.key == "length" else "0" if entry.key == "offset" else entry.value
    with pytest.raises(InputRefused, match=r"3\.0 GiB, more than the 2 GiB"):
        inline(model.SerializeToString(), tmp_path, "m.onnx")


def test_a_message_that_protobuf_would_merge_is_refused(tmp_path: Path) -> None:
    """One half names the file, the other the rest: no single half shows what the merged tensor is."""
    model = branch(TensorProto(name="held", data_type=1, dims=[2], data_location=TensorProto.EXTERNAL))
    entry = model.graph.node[0].attribute[0]
    twice = entry.SerializeToString() + block(6, GraphProto(name="more").SerializeToString())
    assert AttributeProto.FromString(twice).g.name == "more"
    del model.graph.node[0].attribute[:]
    node = model.graph.node[0].SerializeToString() + block(5, twice)
    del model.graph.node[:]
    graph = model.graph.SerializeToString() + block(1, node)
    model.ClearField("graph")
    with pytest.raises(InputRefused, match="AttributeProto holds its field 6 twice"):
        inline(model.SerializeToString() + block(7, graph), tmp_path, "m.onnx")
