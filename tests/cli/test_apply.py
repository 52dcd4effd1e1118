"""`rnpc apply` as a user types it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from rnpc.cli import run
from rnpc.errors import Exit
from rnpc.passes.rewrite import tensor_file, weights
from rnpc.passes.rewrite.by_hand import METHOD
from rnpc.passes.wire import provenance
from rnpc.pipeline import optimise
from rnpc.plan import Plan


def call(capsys: pytest.CaptureFixture[str], *args: object) -> tuple[int, str, str]:
    code = run(["apply", *map(str, args)])
    out, err = capsys.readouterr()
    return code, out, err


@pytest.fixture
def hand(tmp_path: Path) -> Path:
    (tmp_path / "plan.json").write_text('{"sites": {"features": {"1": 0.5}}}')
    return tmp_path / "plan.json"


def tensor(path: Path, name: str) -> np.ndarray:
    return next(numpy_helper.to_array(t) for t in onnx.load(path).graph.initializer if t.name == name)


def test_a_plan_by_hand(capsys: pytest.CaptureFixture[str], toy_file: Path, hand: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.onnx"
    code, text, err = call(capsys, toy_file, "--plan", hand, "-o", out)
    assert (code, err) == (Exit.OK, "") and "model.onnx: 1 channel of 1 site zeroed (plan: by hand)" in text and str(out) in text
    assert tensor(out, "b").tolist() == [0, 0.5, 0] and not tensor(out, "w")[1].any() and tensor(out, "w")[0].any()
    first = out.read_bytes()
    assert call(capsys, toy_file, "--plan", hand, "-o", out)[0] == Exit.OK and out.read_bytes() == first


def test_the_document(capsys: pytest.CaptureFixture[str], toy_file: Path, hand: Path, tmp_path: Path) -> None:
    code, text, _ = call(capsys, toy_file, "--plan", hand, "-o", tmp_path / "out.onnx", "--format", "json")
    found = json.loads(text)
    assert code == Exit.OK and found["schema"] == "rnpc.apply/1"
    assert set(found) == {"schema", "rnpc", "model", "plan", "edits", "kept", "output", "notes", "optimised"} and found["optimised"] is None
    assert found["plan"]["sites"] == {"features": [1]} and found["plan"]["method"] == METHOD and found["plan"]["mode"] == "zero"
    assert [e["kind"] for e in found["edits"]] == ["zero", "set"]
    assert found["output"] == {"path": "out.onnx", "sha256": weights.digest((tmp_path / "out.onnx").read_bytes())}
    assert str(tmp_path) not in text


def test_a_full_plan_with_weights(capsys: pytest.CaptureFixture[str], toy_file: Path, tmp_path: Path) -> None:
    source, new = toy_file.read_bytes(), {"fc": tensor(toy_file, "fc") * np.float32(2)}
    plan = Plan("tuned", 3, weights.digest(source), "", weights=weights.declare(source, new))
    (tmp_path / "plan.json").write_text(plan.to_json() + "\n")
    (tmp_path / "w.safetensors").write_bytes(tensor_file.dump(new))
    out = tmp_path / "out.onnx"
    code, text, _ = call(capsys, toy_file, "--plan", tmp_path / "plan.json", "--weights", tmp_path / "w.safetensors", "-o", out)
    assert code == Exit.OK and "1 tensor retrained" in text and (tensor(out, "fc") == new["fc"]).all()
    assert Plan.from_json(provenance.read(onnx.load(out))["rnpc.plan"]) == plan
    code, _, err = call(capsys, toy_file, "--plan", tmp_path / "plan.json", "-o", tmp_path / "none.onnx")
    assert code == Exit.REFUSED and "--weights" in err and not (tmp_path / "none.onnx").exists()


def test_removed_channels(capsys: pytest.CaptureFixture[str], toy_file: Path, hand: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.onnx"
    code, text, _ = call(capsys, toy_file, "--plan", hand, "--mode", "remove", "-o", out, "--format", "json")
    found = json.loads(text)
    assert code == Exit.OK and found["plan"]["mode"] == "remove"
    gone = [e["index"] for e in found["edits"] if e["kind"] == "remove"]
    assert sum(map(len, gone)) + len(found["kept"]) == 1 and all(entry["why"] for entry in found["kept"])
    onnx.checker.check_model(onnx.load(out), full_check=True)


def test_channels_that_stay_are_told_by_reason(capsys: pytest.CaptureFixture[str], toy_file: Path, hand: Path, tmp_path: Path) -> None:
    model = onnx.load(toy_file)
    model.graph.node.insert(1, onnx.helper.make_node("LpNormalization", ["features"], ["seen"], axis=1))
    model.graph.node[2].input[0] = "seen"
    onnx.save(model, toy_file)
    given = (toy_file, "--plan", hand, "--mode", "remove", "-o", tmp_path / "out.onnx")
    code, text, _ = call(capsys, *given)
    (entry,) = json.loads(call(capsys, *given, "--format", "json")[1])["kept"]
    assert code == Exit.OK and (entry["site"], entry["channel"]) == ("features", 1) and entry["why"]
    assert f"  kept      1 channel stays, zeroed: {entry['why']} (features 1)" in text


def test_an_optimised_copy(capsys: pytest.CaptureFixture[str], toy_file: Path, hand: Path, tmp_path: Path) -> None:
    out, fast = tmp_path / "out.onnx", tmp_path / "fast.onnx"
    code, text, err = call(capsys, toy_file, "--plan", hand, "-o", out, "--optimize", fast)
    assert (code, err) == (Exit.OK, "") and "rnpc verify does not cover this copy" in text
    alone = tmp_path / "alone.onnx"
    assert call(capsys, toy_file, "--plan", hand, "-o", alone)[0] == Exit.OK and alone.read_bytes() == out.read_bytes()
    found = json.loads(call(capsys, toy_file, "--plan", hand, "-o", out, "--optimize", fast, "--format", "json")[1])["optimised"]
    assert found["path"] == "fast.onnx" and found["sha256"] == weights.digest(fast.read_bytes()) and found["verified"] is False
    assert found["difference"] <= found["bound"] and found["nodes_before"] >= found["nodes_after"] > 0
    assert run(["verify", str(toy_file), str(fast)]) == Exit.FINDING and "optimised copy" in capsys.readouterr().out


def test_an_optimised_copy_that_is_refused(
    capsys: pytest.CaptureFixture[str], toy_file: Path, hand: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It takes nothing from the verified file."""
    monkeypatch.setattr(optimise, "parity", lambda *_: 1.0)
    out, fast = tmp_path / "out.onnx", tmp_path / "fast.onnx"
    fast.write_bytes(b"earlier")
    code, text, err = call(capsys, toy_file, "--plan", hand, "-o", out, "--optimize", fast, "--format", "json")
    assert code == Exit.REFUSED and err.count("\n") == 1 and "differs by 1 of the outputs' scale" in err and str(fast) in err
    assert fast.read_bytes() == b"earlier" and out.is_file()
    assert json.loads(text)["optimised"]["sha256"] is None and "differs by 1" in json.loads(text)["optimised"]["why"]


def test_where_an_optimised_copy_cannot_go(capsys: pytest.CaptureFixture[str], toy_file: Path, hand: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.onnx"
    for place, code in ((out, Exit.USAGE), (toy_file, Exit.USAGE), (hand, Exit.USAGE), (tmp_path / "no" / "f.onnx", Exit.SURROUNDINGS)):
        found, text, err = call(capsys, toy_file, "--plan", hand, "-o", out, "--optimize", place)
        assert (found, text, err.count("\n")) == (code, "", 1) and not out.exists()


def test_external_data_comes_in(capsys: pytest.CaptureFixture[str], toy_file: Path, hand: Path, tmp_path: Path) -> None:
    onnx.save(onnx.load(toy_file), toy_file, save_as_external_data=True, location="model.data", size_threshold=0)
    code, text, _ = call(capsys, toy_file, "--plan", hand, "-o", tmp_path / "out.onnx")
    assert code == Exit.OK and "external data brought in (4 tensors)" in text and tensor(tmp_path / "out.onnx", "b")[1] == 0.5
    code, _, err = call(capsys, toy_file, "--plan", hand, "-o", toy_file.parent / "model.data")
    assert code == Exit.USAGE and "the output is an input" in err


@pytest.mark.parametrize(
    ("plan", "code", "said"),
    [
        ('{"sites": {"feature": [1]}}', Exit.REFUSED, "no site feature; did you mean features?"),
        ('{"sites": {"features": [3]}}', Exit.REFUSED, "has 3 channels, the plan names 3"),
        ('{"sites": {"features": [0, 1, 2]}}', Exit.REFUSED, "leave at least one"),
        ('{"sites": {"features": [true]}}', Exit.REFUSED, "not whole numbers"),
        ('{"features": [1]}', Exit.REFUSED, "plan.json: neither a plan that rnpc wrote nor one by hand"),
        ('{"sites": {"features": [9]}}', Exit.REFUSED, "rnpc: plan.json: site features has"),
        ("\x00", Exit.REFUSED, "no JSON"),
        (Plan("m", 0, "0" * 64, "").to_json(), Exit.REFUSED, "the plan was made for 000000000000"),
        (Plan("m", 0, "0" * 64, "", rewrite="rnpc.rewrite/9").to_json(), Exit.REFUSED, "rewrite version 'rnpc.rewrite/9' is unknown"),
    ],
)
def test_refused_plans(plan: str, code: Exit, said: str, capsys: pytest.CaptureFixture[str], toy_file: Path, tmp_path: Path) -> None:
    (tmp_path / "plan.json").write_text(plan)
    found, out, err = call(capsys, toy_file, "--plan", tmp_path / "plan.json", "-o", tmp_path / "out.onnx")
    assert (found, out) == (code, "") and said in err and err.count("\n") == 1 and not (tmp_path / "out.onnx").exists()


def test_refused_files(capsys: pytest.CaptureFixture[str], toy_file: Path, hand: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.onnx"
    (tmp_path / "junk").write_bytes(b"\xff\xfe\x00")
    assert call(capsys, tmp_path / "none.onnx", "--plan", hand, "-o", out)[0] == Exit.REFUSED
    assert call(capsys, tmp_path / "junk", "--plan", hand, "-o", out)[0] == Exit.REFUSED
    assert call(capsys, toy_file, "--plan", tmp_path / "none", "-o", out)[0] == Exit.REFUSED
    assert call(capsys, toy_file, "--plan", tmp_path / "junk", "-o", out)[0] == Exit.REFUSED
    code, _, err = call(capsys, toy_file, "--plan", tmp_path, "-o", out)
    assert code == Exit.REFUSED and "a folder, not a file; give a plan" in err
    assert call(capsys, toy_file, "--plan", hand, "--weights", tmp_path / "junk", "-o", out)[0] == Exit.REFUSED
    assert call(capsys, toy_file, "--plan", hand, "-o", toy_file)[0] == Exit.USAGE
    assert call(capsys, toy_file, "--plan", hand, "-o", hand)[0] == Exit.USAGE
    assert call(capsys, toy_file, "--plan", hand, "-o", tmp_path / "no" / "out.onnx")[0] == Exit.SURROUNDINGS
    assert call(capsys, toy_file, "--plan", hand)[0] == Exit.USAGE and not out.exists()


def test_an_error_has_the_users_name_of_the_file(capsys: pytest.CaptureFixture[str], toy_file: Path, hand: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.onnx"
    assert call(capsys, toy_file, "--plan", hand, "-o", out)[0] == Exit.OK
    code, _, err = call(capsys, out, "--plan", hand, "-o", tmp_path / "again.onnx")
    assert code == Exit.REFUSED and err.startswith("rnpc: out.onnx: the model was already hardened")


def test_a_file_larger_than_one_message(capsys: pytest.CaptureFixture[str], hand: Path, tmp_path: Path) -> None:
    with (tmp_path / "big.onnx").open("wb") as file:
        file.truncate(2**31 + 1)  # a hole: takes no space
    code, _, err = call(capsys, tmp_path / "big.onnx", "--plan", hand, "-o", tmp_path / "out.onnx")
    assert code == Exit.REFUSED and "more than the 2 GiB" in err


LOADED = "import sys; from rnpc.cli import run; code = run(sys.argv[1:]); print(code, *sorted({m.split('.')[0] for m in sys.modules}))"


def loaded(*args: object) -> list[str]:
    """Exit code and loaded packages of a fresh process."""
    done = subprocess.run([sys.executable, "-c", LOADED, *map(str, args)], capture_output=True, text=True, check=True)
    return done.stdout.splitlines()[-1].split()


@pytest.mark.parametrize("name", ["apply", "verify"])
def test_help_loads_nothing(name: str) -> None:
    assert not {"numpy", "onnx", "torch", "onnxruntime", "safetensors", "scipy"} & set(loaded(name, "--help"))


def test_neither_torch_nor_onnxruntime(toy_file: Path, hand: Path, tmp_path: Path) -> None:
    for args in (["apply", toy_file, "--plan", hand, "-o", tmp_path / "o.onnx"], ["verify", toy_file, tmp_path / "o.onnx", "--plan", hand]):
        code, *names = loaded(*args)
        assert code == "0" and "onnx" in names and not {"torch", "onnxruntime", "scipy", "PIL"} & set(names)
