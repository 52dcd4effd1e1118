"""`rnpc verify` as a user types it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from rnpc.cli import run
from rnpc.errors import Exit
from rnpc.passes.rewrite import tensor_file, weights
from rnpc.plan import Plan


def call(capsys: pytest.CaptureFixture[str], *args: object) -> tuple[int, str, str]:
    code = run(["verify", *map(str, args)])
    out, err = capsys.readouterr()
    return code, out, err


def document(capsys: pytest.CaptureFixture[str], *args: object) -> tuple[int, dict[str, object]]:
    code, out, _ = call(capsys, *args, "--format", "json")
    return code, json.loads(out)


@pytest.fixture
def plan(tmp_path: Path) -> Path:
    (tmp_path / "plan.json").write_text('{"sites": {"features": {"1": 0.5}}}')
    return tmp_path / "plan.json"


@pytest.fixture
def hard(toy_file: Path, plan: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    """The toy model hardened by that plan."""
    assert run(["apply", str(toy_file), "--plan", str(plan), "-o", str(tmp_path / "hard.onnx")]) == 0
    capsys.readouterr()
    return tmp_path / "hard.onnx"


def test_as_declared(capsys: pytest.CaptureFixture[str], toy_file: Path, hard: Path, plan: Path) -> None:
    code, out, err = call(capsys, toy_file, hard)
    assert (code, err) == (Exit.OK, "") and out.startswith("verified: hard.onnx is model.onnx with the declared edits and nothing else")
    assert "self-declared, seal intact: 1 channel of 1 site zeroed" in out and "one that you trust with --plan" in out
    code, out, _ = call(capsys, toy_file, hard, "--plan", plan, "--require-hardened")
    assert code == Exit.OK and "trusted, seal intact" in out and "note" not in out


def test_the_document(capsys: pytest.CaptureFixture[str], toy_file: Path, hard: Path, tmp_path: Path) -> None:
    code, found = document(capsys, toy_file, hard)
    fields = {"schema", "rnpc", "result", "original", "hardened", "plan", "seal", "edits", "differences", "outputs", "notes"}
    assert code == Exit.OK and set(found) == fields and found["schema"] == "rnpc.verify/1"
    assert (found["result"], found["seal"], found["differences"], found["outputs"]) == ("verified", "intact", [], None)
    assert found["original"] == {"path": "model.onnx", "sha256": weights.digest(toy_file.read_bytes())}
    assert str(tmp_path) not in json.dumps(found)


def test_what_differs(capsys: pytest.CaptureFixture[str], toy_file: Path, hard: Path) -> None:
    model = onnx.load(hard)
    model.graph.initializer[3].CopyFrom(numpy_helper.from_array(np.float32([9, 0, 0, 0, 0]), "bias"))
    model.graph.node[0].attribute.add(name="group", type=2, i=1)
    onnx.save(model, hard)
    code, out, _ = call(capsys, toy_file, hard)
    assert (
        code == Exit.FINDING and out.startswith("different: ") and "node conv (Conv) / attribute group: declared absent, found added" in out
    )
    code, found = document(capsys, toy_file, hard)
    assert code == Exit.FINDING and found["result"] == "different"
    assert isinstance(found["differences"], list) and [d["kind"] for d in found["differences"]] == ["attribute", "tensor"]
    assert (
        found["differences"][1]["where"] == ["graph", "tensor bias"]
        and "elements differ, the first is 0" in found["differences"][1]["found"]
    )


def test_many_differences_are_counted(capsys: pytest.CaptureFixture[str], toy_file: Path, hard: Path) -> None:
    model = onnx.load(hard)
    for k in range(30):
        model.metadata_props.add(key=f"k{k}", value="v")
    onnx.save(model, hard)
    code, out, _ = call(capsys, toy_file, hard)
    assert code == Exit.FINDING and out.count("differs") == 21 and "and 10 more" in out


def test_a_damaged_file_is_called_by_its_name(capsys: pytest.CaptureFixture[str], toy_file: Path, tmp_path: Path) -> None:
    (tmp_path / "text.onnx").write_text("hello world")
    code, out, err = call(capsys, toy_file, tmp_path / "text.onnx")
    assert (code, out) == (Exit.REFUSED, "") and err.startswith("rnpc: text.onnx: truncated, damaged, or not an ONNX file")


def test_unchanged(capsys: pytest.CaptureFixture[str], toy_file: Path, tmp_path: Path, plan: Path) -> None:
    copy = tmp_path / "copy.onnx"
    copy.write_bytes(toy_file.read_bytes())
    code, out, _ = call(capsys, toy_file, copy)
    assert code == Exit.OK and out.startswith("unchanged: copy.onnx is model.onnx")
    code, out, _ = call(capsys, toy_file, copy, "--require-hardened")
    assert code == Exit.FINDING and "declared a hardened file, found no edits" in out
    assert call(capsys, toy_file, copy, "--plan", plan)[0] == Exit.FINDING


def test_a_copy_with_external_data(capsys: pytest.CaptureFixture[str], toy_file: Path, plan: Path, tmp_path: Path) -> None:
    """Equal model files are no equal models where their data lies beside them."""
    onnx.save(onnx.load(toy_file), toy_file, save_as_external_data=True, location="m.data", size_threshold=0)
    data = (toy_file.parent / "m.data").read_bytes()
    (tmp_path / "copy.onnx").write_bytes(toy_file.read_bytes())
    (tmp_path / "m.data").write_bytes(data)
    assert call(capsys, toy_file, tmp_path / "copy.onnx")[0] == Exit.OK
    (tmp_path / "m.data").write_bytes(bytes([data[0] ^ 1]) + data[1:])
    code, out, _ = call(capsys, toy_file, tmp_path / "copy.onnx")
    assert code == Exit.FINDING and "tensor: graph / tensor w: " in out
    assert run(["apply", str(toy_file), "--plan", str(plan), "-o", str(tmp_path / "hard.onnx")]) == Exit.OK
    assert call(capsys, toy_file, tmp_path / "hard.onnx")[0] == Exit.OK
    (toy_file.parent / "m.data").write_bytes(bytes([data[0] ^ 1]) + data[1:])
    assert call(capsys, toy_file, tmp_path / "hard.onnx")[0] == Exit.FINDING


def test_retrained_tensors(capsys: pytest.CaptureFixture[str], toy_file: Path, tmp_path: Path) -> None:
    source = toy_file.read_bytes()
    new = {"fc": np.ones((5, 3), np.float32)}
    plan, file, hard = tmp_path / "p.json", tmp_path / "w.safetensors", tmp_path / "hard.onnx"
    plan.write_text(Plan("tuned", 0, weights.digest(source), "", weights=weights.declare(source, new)).to_json())
    file.write_bytes(tensor_file.dump(new))
    assert run(["apply", str(toy_file), "--plan", str(plan), "--weights", str(file), "-o", str(hard)]) == Exit.OK
    assert call(capsys, toy_file, hard)[0] == Exit.FINDING  # by the file's own word only
    assert call(capsys, toy_file, hard, "--plan", plan)[0] == Exit.OK
    assert call(capsys, toy_file, hard, "--plan", plan, "--weights", file)[0] == Exit.OK


def test_refused(capsys: pytest.CaptureFixture[str], toy_file: Path, hard: Path, plan: Path, tmp_path: Path) -> None:
    (tmp_path / "junk").write_bytes(b"junk")
    (tmp_path / "cut.onnx").write_bytes(hard.read_bytes()[:-5])
    (tmp_path / "other.json").write_text(Plan("m", 0, "0" * 64, "").to_json())
    for args in (
        (tmp_path / "none", hard),
        (toy_file, tmp_path / "none"),
        (toy_file, tmp_path / "junk"),
        (toy_file, tmp_path / "cut.onnx"),
        (toy_file, hard, "--plan", tmp_path / "junk"),
        (toy_file, hard, "--plan", tmp_path / "other.json"),
        (toy_file, hard, "--weights", tmp_path / "junk"),
    ):
        code, out, err = call(capsys, *args)
        assert (code, out) == (Exit.REFUSED, "") and err.count("\n") == 1


def test_outputs_side_by_side(capsys: pytest.CaptureFixture[str], toy_file: Path, hard: Path, toy_data: Path) -> None:
    code, found = document(capsys, toy_file, hard, "--data", toy_data, "--device", "cpu", "--threads", "1")
    assert code == Exit.OK and isinstance(found["outputs"], dict)
    graphs = found["outputs"]["graphs"]
    assert list(graphs) == ["original", "zeroed", "removed", "hardened"] and found["outputs"]["images"] == 60
    assert graphs["zeroed"]["distance"] == graphs["hardened"]["distance"] == 0 < graphs["original"]["distance"]
    assert graphs["original"]["accuracy"] == 1 and graphs["hardened"]["accuracy"] < 1
    assert graphs["removed"]["distance"] is not None or graphs["removed"]["why"]
    code, out, _ = call(capsys, toy_file, hard, "--data", toy_data, "--device", "cpu", "--threads", "1")
    assert code == Exit.OK and "outputs   hardened  0, 100.00% same answers" in out


def test_outputs_that_part(capsys: pytest.CaptureFixture[str], toy_file: Path, hard: Path, plan: Path, toy_data: Path) -> None:
    """A graph that answers otherwise than the zeroed one is a difference of its own."""
    model = onnx.load(hard)
    model.graph.initializer[3].CopyFrom(numpy_helper.from_array(np.float32([9, 0, 0, 0, 0]), "bias"))
    onnx.save(model, hard)
    code, out, _ = call(capsys, toy_file, hard, "--plan", plan, "--data", toy_data, "--device", "cpu", "--threads", "1")
    assert code == Exit.FINDING and "BEYOND THE BOUND" in out
