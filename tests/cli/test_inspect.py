"""`rnpc inspect` as a user types it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from rnpc.cli import run
from rnpc.errors import Exit


def call(capsys: pytest.CaptureFixture[str], *args: object) -> tuple[int, str, str]:
    code = run(["inspect", *map(str, args), "--threads", "1", "--device", "cpu"])
    out, err = capsys.readouterr()
    return code, out, err


@pytest.fixture
def plenty(tmp_path: Path, bright: Callable[..., np.ndarray], folders: Callable[..., Path]) -> Path:
    """Enough images of five classes for harden to begin."""
    labels = np.arange(240) % 5
    return folders(tmp_path / "plenty", labels, [f"{i:05d}" for i in range(5)], bright(labels))


def test_every_value_has_its_source(capsys: pytest.CaptureFixture[str], toy_file: Path, plenty: Path) -> None:
    code, out, _ = call(capsys, toy_file, "--defense-data", plenty, "--format", "json")
    assert code == Exit.OK
    found = json.loads(out)
    assert found["schema"] == "rnpc.inspect/1" and found["signature"]["classes"] == 5
    sources = {fact["name"]: fact["source"] for fact in found["facts"]}
    assert sources["mean"] == "preprocessor_config.json" and sources["size"] == "input shape" and sources["labels"] == "none found"
    assert found["sites"][0] == {"index": 0, "site": "features", "op_type": "Conv", "kind": "conv", "channels": 3}
    assert found["data"]["accuracy"]["value"] == 1.0 and found["unsupported"] == [] and found["refused"] is None


def test_tables(capsys: pytest.CaptureFixture[str], toy_file: Path, plenty: Path) -> None:
    code, out, err = call(capsys, toy_file, "--defense-data", plenty)
    assert code == Exit.OK and err == ""
    for text in ("What is known", "Filter sites: 1, channels: 3", "features", "accuracy 100.00%", "harden will take about"):
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


def test_too_few_images_for_harden(capsys: pytest.CaptureFixture[str], toy_file: Path, toy_data: Path) -> None:
    code, out, err = call(capsys, toy_file, "--defense-data", toy_data)
    assert code == Exit.INCONCLUSIVE and "accuracy 100.00%" in out and "60 images cannot show" in err


def test_sites_alone(capsys: pytest.CaptureFixture[str], toy_file: Path) -> None:
    code, out, _ = call(capsys, toy_file, "--sites", "--format", "json")
    site = {"index": 0, "site": "features", "op_type": "Conv", "kind": "conv", "channels": 3}
    assert code == Exit.OK and json.loads(out) == {"sites": [site]}
    code, out, _ = call(capsys, toy_file, "--sites")
    assert code == Exit.OK and "features" in out and "What is known" not in out


def test_channel_facts(capsys: pytest.CaptureFixture[str], toy_file: Path) -> None:
    model = onnx.load(toy_file)
    weight = numpy_helper.to_array(model.graph.initializer[0]).copy()
    weight[1] = 0
    model.graph.initializer[0].CopyFrom(numpy_helper.from_array(weight, model.graph.initializer[0].name))
    onnx.save(model, toy_file)
    code, out, _ = call(capsys, toy_file, "--channels", "--format", "json")
    rows = {row["value"]: row for row in json.loads(out)["values"]}
    assert code == Exit.OK and rows["features"]["channels"] == 3 and rows["features"]["constant"] == 1
    assert "why channels stay" in call(capsys, toy_file, "--channels")[1]


def refuse(capsys: pytest.CaptureFixture[str], path: Path, text: str) -> None:
    code, out, err = call(capsys, path)
    assert code == Exit.REFUSED and text in err and err.count("\n") == 1 and "Filter sites" in out


def test_what_harden_refuses_is_shown_and_refused(capsys: pytest.CaptureFixture[str], toy_file: Path) -> None:
    model = onnx.load(toy_file)
    norm = helper.make_node("BatchNormalization", ["features", *"efgh"], ["norm", "m", "v"], name="bn", training_mode=1)
    model.graph.initializer.extend(numpy_helper.from_array(np.ones(3, np.float32), name) for name in "efgh")
    model.graph.node.insert(1, norm)
    model.opset_import[0].version = 14
    model.graph.node[2].input[0] = "norm"
    onnx.save(model, toy_file)
    refuse(capsys, toy_file, "node bn (BatchNormalization) is in training mode; call model.eval()")


def test_a_hardened_file_is_refused(capsys: pytest.CaptureFixture[str], toy_file: Path) -> None:
    model = onnx.load(toy_file)
    helper.set_model_props(model, {"rnpc.version": "1", "rnpc.method": "auto"})
    onnx.save(model, toy_file)
    refuse(capsys, toy_file, "already hardened by rnpc; harden the original")


def test_the_output_that_carries_the_scores(capsys: pytest.CaptureFixture[str], toy_file: Path) -> None:
    model = onnx.load(toy_file)
    model.graph.output.insert(0, helper.make_tensor_value_info("flat", 1, ["n", 3]))
    onnx.save(model, toy_file)
    code, _, err = call(capsys, toy_file)
    assert code == Exit.REFUSED and "2 outputs (flat, scores), of which 2 could be scores; say with --output-name NAME" in err
    code, out, _ = call(capsys, toy_file, "--output-name", "scores", "--format", "json")
    assert code == Exit.OK and json.loads(out)["signature"]["output"] == "scores"
    code, _, err = call(capsys, toy_file, "--output-name", "none")
    assert code == Exit.USAGE and "the model has no output none" in err


def test_nodes_in_any_order(capsys: pytest.CaptureFixture[str], toy_file: Path, plenty: Path) -> None:
    model = onnx.load(toy_file)
    nodes = list(model.graph.node)[::-1]
    copies = [onnx.NodeProto.FromString(node.SerializeToString()) for node in nodes]
    del model.graph.node[:]
    model.graph.node.extend(copies)
    onnx.save(model, toy_file)
    assert call(capsys, toy_file, "--defense-data", plenty)[0] == Exit.OK
