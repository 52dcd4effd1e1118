"""`rnpc inspect` as a user types it."""

from __future__ import annotations

import json
from pathlib import Path

import onnx
import pytest
from onnx import helper

from rnpc.cli import run
from rnpc.errors import Exit


def call(capsys: pytest.CaptureFixture[str], *args: object) -> tuple[int, str, str]:
    code = run(["inspect", *map(str, args), "--threads", "1", "--device", "cpu"])
    out, err = capsys.readouterr()
    return code, out, err


def test_every_value_has_its_source(capsys: pytest.CaptureFixture[str], toy_file: Path, toy_data: Path) -> None:
    code, out, _ = call(capsys, toy_file, "--defense-data", toy_data, "--format", "json")
    assert code == Exit.OK
    found = json.loads(out)
    assert found["schema"] == "rnpc.inspect/1" and found["signature"]["classes"] == 5
    sources = {fact["name"]: fact["source"] for fact in found["facts"]}
    assert sources["mean"] == "preprocessor_config.json" and sources["size"] == "input shape" and sources["labels"] == "none found"
    assert found["sites"][0] == {"index": 0, "site": "features", "op_type": "Conv", "kind": "conv", "channels": 3}
    assert found["data"]["accuracy"]["value"] == 1.0 and found["unsupported"] == [] and found["refused"] is None


def test_tables(capsys: pytest.CaptureFixture[str], toy_file: Path, toy_data: Path) -> None:
    code, out, err = call(capsys, toy_file, "--defense-data", toy_data)
    assert code == Exit.OK and err == ""
    for text in ("What is known", "Filter sites: 1, channels: 3", "features", "accuracy 100.00%"):
        assert text in out


def test_without_images_open_values_are_named(capsys: pytest.CaptureFixture[str], toy_file: Path) -> None:
    (toy_file.parent / "preprocessor_config.json").unlink()
    code, out, _ = call(capsys, toy_file, "--format", "json")
    facts = {fact["name"]: fact["value"] for fact in json.loads(out)["facts"]}
    assert code == Exit.OK and facts["mean, std"] == "not stated" and facts["size"] == "8x8"


def test_all_unsupported_nodes_are_listed(capsys: pytest.CaptureFixture[str], toy_file: Path) -> None:
    model = onnx.load(toy_file)
    model.opset_import.append(helper.make_opsetid("vendor", 1))
    for i, node in enumerate(("first", "second")):
        before = model.graph.node[i + 2].input[0]
        model.graph.node.insert(i + 2, helper.make_node("Secret", [before], [f"s{i}"], name=node, domain="vendor"))
        model.graph.node[i + 3].input[0] = f"s{i}"
    onnx.save(model, toy_file)
    code, out, _ = call(capsys, toy_file, "--format", "json")
    found = json.loads(out)
    assert code == Exit.REFUSED and [n["op_type"] for n in found["unsupported"]] == ["Secret", "Secret"]
    assert any("custom operators" in line for line in found["warnings"])


def test_refused_data_is_shown_and_decides_the_exit_code(capsys: pytest.CaptureFixture[str], tmp_path: Path, toy_file: Path) -> None:
    code, out, err = call(capsys, toy_file, "--defense-data", tmp_path / "none")
    assert code == Exit.REFUSED and "Filter sites" in out and "no such file or folder" in err and err.count("\n") == 1
    (toy_file.parent / "preprocessor_config.json").write_text('{"size": 64, "do_normalize": false}')
    code, out, _ = call(capsys, toy_file, "--format", "json")
    assert code == Exit.REFUSED and "says 64x64" in json.loads(out)["refused"]


def test_no_model(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    code, out, err = call(capsys, tmp_path / "none.onnx")
    assert code == Exit.REFUSED and out == "" and err.startswith("rnpc: ") and err.count("\n") == 1
