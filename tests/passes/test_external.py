"""External data comes in from the model's folder only."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import ModelProto, numpy_helper

from rnpc.errors import InputRefused
from rnpc.passes.external import inline


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


@pytest.mark.parametrize("location", ["../secret", "/etc/hostname", "a/../../secret", "", "link"])
def test_outside_the_folder(location: str, net: ModelProto, tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(bytes(10_000))
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "link").symlink_to(tmp_path / "secret")
    model = onnx.load_from_string(save(net, folder))
    for tensor in model.graph.initializer:
        next(e for e in tensor.external_data if e.key == "location").value = location
    with pytest.raises(InputRefused, match="outside the model's folder"):
        inline(model.SerializeToString(), folder, "m.onnx")


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
