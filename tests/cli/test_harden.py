"""`rnpc harden` as a user types it: what it writes, prints and exits with for each outcome of the method."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper

from rnpc.cli import run
from rnpc.errors import Exit
from rnpc.pipeline import optimise
from rnpc.plan import float_bits
from rnpc.stage import Stage

pytestmark = pytest.mark.timeout(1500)  # a whole run, or two, on a slow machine that is shared
Decides = Callable[..., list[Any]]
FIELDS = {
    "schema", "rnpc", "input", "data", "method", "settings", "seed", "verdict", "confidence", "target_labels", "evidence", "reasons",
    "left", "why", "pruned", "retrained", "threshold", "accuracy", "edits", "output", "provider", "twin_difference", "notes", "warnings",
    "unseen", "kept", "optimised",
}  # fmt: skip


def call(capsys: pytest.CaptureFixture[str], model: Path, data: Path, *args: object) -> tuple[int, str, str]:
    code = run(["harden", str(model), "--defense-data", str(data), *map(str, args), "--threads", "1", "--device", "cpu"])
    out, err = capsys.readouterr()
    return code, out, err


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_the_document_has_every_field(hardened: Any) -> None:
    assert hardened.code == Exit.OK and hardened.err == ""
    found = json.loads(hardened.out)  # one document and nothing else
    assert set(found) == FIELDS and (found["schema"], found["method"], found["seed"]) == ("rnpc.harden/1", "auto", 0)
    assert found["input"] == {"path": "model.onnx", "sha256": digest(hardened.folder / "model.onnx")}
    assert found["output"] == {"path": "out.onnx", "sha256": digest(hardened.folder / "out.onnx")}
    assert found["verdict"] == "backdoored" and (found["confidence"] is None or 0 <= found["confidence"] <= 1)
    (target,) = found["target_labels"]
    assert target["index"] == 7 and target["name"] == "7" and 0 <= target["share"] <= 1
    assert found["settings"]["max_ca_drop"] is None and found["settings"]["preprocessing"]["sources"]["mean"] == "preprocessor_config.json"
    assert found["threshold"] is None if found["retrained"] else isinstance(found["threshold"], float)


def test_the_numbers_agree(hardened: Any) -> None:
    found = json.loads(hardened.out)
    sites = found["pruned"]["sites"]
    assert 0 < found["pruned"]["channels"] == sum(len(site["channels"]) for site in sites) < found["pruned"]["of"] == 600
    accuracy = found["accuracy"]
    assert accuracy["interval"][0] <= accuracy["after"] <= accuracy["interval"][1]
    assert accuracy["before"] - accuracy["after"] <= accuracy["drop_bound"] <= 0.02 and 149 <= accuracy["images"] < 500
    zeroed = [edit for edit in found["edits"] if edit["kind"] == "zero"]
    assert sum(len(edit["index"]) for edit in zeroed) == found["pruned"]["channels"]


def test_only_declared_tensors_changed_and_channels_are_constants(hardened: Any) -> None:
    edits = json.loads(hardened.out)["edits"]
    models = (onnx.load(hardened.folder / name) for name in ("model.onnx", "out.onnx"))
    before, after = ({t.name: numpy_helper.to_array(t) for t in model.graph.initializer} for model in models)
    changed = {name for name, value in after.items() if name not in before or not np.array_equal(before[name], value)}
    assert changed <= {edit["tensor"] for edit in edits}
    for edit in edits:
        if edit["kind"] == "zero":
            assert not after[edit["tensor"]].take(edit["index"], axis=edit["axis"]).any()
        elif edit["kind"] == "set":
            assert [float_bits(v) for v in after[edit["tensor"]][edit["index"]]] == edit["bits"]


def test_the_plan_applied_again_gives_the_same_bytes(hardened: Any) -> None:
    from rnpc.frontends import onnx_file
    from rnpc.passes.rewrite import tensor_file
    from rnpc.passes.rewrite.apply import apply
    from rnpc.passes.wire import provenance
    from rnpc.plan import Plan

    program, written = onnx_file.load(hardened.folder / "model.onnx"), (hardened.folder / "out.onnx").read_bytes()
    plan = Plan.from_json((hardened.folder / "plan.json").read_text())
    beside = hardened.folder / "plan.safetensors"
    assert beside.is_file() is (plan.weights is not None)
    tensors = tensor_file.load(beside.read_bytes(), beside.name) if beside.is_file() else {}
    assert apply(program.source, plan, tensors).data == written and plan.original == program.sha256
    declared = provenance.read(onnx.load_model_from_string(written))
    assert provenance.intact(declared) and Plan.from_json(declared["rnpc.plan"]) == plan
    assert plan.data == json.loads(hardened.out)["data"]["sha256"]


def test_report_and_timings(hardened: Any) -> None:
    whole = json.loads((hardened.folder / "report" / "report.json").read_text())
    assert whole["document"] == json.loads(hardened.out)
    page = (hardened.folder / "report" / "report.html").read_text()
    assert "<svg" in page and "http://" not in page.replace("http://www.w3.org", "")
    seconds = json.loads((hardened.folder / "timings.json").read_text())
    assert {stage.value for stage in (Stage.LOAD_MODEL, Stage.INVERT, Stage.RANK, Stage.CUT, Stage.AGAIN, Stage.MEASURE)} <= set(seconds)
    assert all(value >= 0 for value in seconds.values()) and str(hardened.folder) not in hardened.out + page


@pytest.mark.slow
def test_the_same_seed_twice_gives_the_same_bytes(hardened: Any, hardened_again: Any) -> None:
    assert hardened.out == hardened_again.out
    for name in ("out.onnx", "plan.json", "report/report.html", "report/report.json"):
        assert (hardened.folder / name).read_bytes() == (hardened_again.folder / name).read_bytes(), name


def test_a_clean_model_is_copied_byte_for_byte(
    capsys: pytest.CaptureFixture[str], decides: Decides, toy_file: Path, toy_data: Path
) -> None:
    decides("clean")
    code, out, err = call(capsys, toy_file, toy_data, "--format", "json", "--plan-out", toy_file.parent / "plan.json")
    found = json.loads(out)
    assert (code, err) == (Exit.OK, "") and set(found) == FIELDS
    written = toy_file.parent / "model.hardened.onnx"
    assert f"written   {written}\n" in call(capsys, toy_file, toy_data)[1]
    assert written.read_bytes() == toy_file.read_bytes() and found["output"]["sha256"] == found["input"]["sha256"]
    assert (found["verdict"], found["edits"], found["pruned"]["channels"], found["threshold"]) == ("clean", [], 0, None)
    assert found["accuracy"]["before"] == found["accuracy"]["after"] == 1.0 and found["accuracy"]["drop_bound"] == 0.0
    assert not (toy_file.parent / "plan.json").exists()


def test_an_inconclusive_run_writes_no_model(
    capsys: pytest.CaptureFixture[str], decides: Decides, toy_file: Path, toy_data: Path, tmp_path: Path
) -> None:
    decides("inconclusive")
    (tmp_path / "out.onnx").write_bytes(b"earlier")
    code, out, _ = call(capsys, toy_file, toy_data, "-o", tmp_path / "out.onnx", "--format", "json", "--report", tmp_path / "report")
    found = json.loads(out)
    assert code == Exit.INCONCLUSIVE and found["output"] is None and found["accuracy"]["after"] is None
    assert (tmp_path / "out.onnx").read_bytes() == b"earlier" and (tmp_path / "report" / "report.html").is_file()


def test_a_backdoor_that_no_cut_repairs_is_a_finding(
    capsys: pytest.CaptureFixture[str], decides: Decides, toy_file: Path, toy_data: Path
) -> None:
    decides("backdoored")
    code, out, _ = call(capsys, toy_file, toy_data)
    assert code == Exit.FINDING and not (toy_file.parent / "model.hardened.onnx").exists() and "a reason" in out


def test_fail_on_finding_still_writes(
    capsys: pytest.CaptureFixture[str], decides: Decides, toy_file: Path, toy_data: Path, tmp_path: Path
) -> None:
    decides("backdoored", cut=(1,))
    assert call(capsys, toy_file, toy_data, "-o", tmp_path / "a.onnx")[0] == Exit.OK
    assert call(capsys, toy_file, toy_data, "-o", tmp_path / "b.onnx", "--fail-on-finding")[0] == Exit.FINDING
    assert (tmp_path / "a.onnx").read_bytes() == (tmp_path / "b.onnx").read_bytes() != toy_file.read_bytes()
    decides("clean")
    assert call(capsys, toy_file, toy_data, "-o", tmp_path / "a.onnx", "--fail-on-finding")[0] == Exit.OK
    code, _, err = call(capsys, tmp_path / "b.onnx", toy_data, "--mean", "0.5", "--std", "0.5")
    assert code == Exit.REFUSED and "already hardened" in err


def test_options_reach_the_method(capsys: pytest.CaptureFixture[str], decides: Decides, toy_file: Path, toy_data: Path) -> None:
    cases = decides(None, cut=(0,))
    given = ("--force", "--seed", 5, "--max-ca-drop", 0.5, "--method", "rnp", "--threshold", 0.4, "--format", "json")
    code, out, _ = call(capsys, toy_file, toy_data, *given)
    found = json.loads(out)
    assert code == Exit.OK and (found["verdict"], found["seed"], found["method"]) == (None, 5, "rnp")
    assert found["settings"]["threshold"] == 0.4 and found["settings"]["stop"] == 0.0
    (case,) = cases
    assert (case.seed, case.max_drop, case.device) == (5, 0.5, "cpu") and len(np.unique(np.concatenate(case.rows))) == 60


def test_a_setting_of_another_method_is_no_option(capsys: pytest.CaptureFixture[str], toy_file: Path, toy_data: Path) -> None:
    code, _, err = call(capsys, toy_file, toy_data, "--method", "auto", "--threshold", 0.4)
    assert code == Exit.USAGE and "--threshold" in err


def test_without_labels_the_model_labels_its_images(
    capsys: pytest.CaptureFixture[str], decides: Decides, toy_file: Path, toy_data: Path, tmp_path: Path
) -> None:
    flat = tmp_path / "flat"
    flat.mkdir()
    for file in toy_data.rglob("*.png"):
        file.rename(flat / file.name)
    cases = decides("clean")
    found = json.loads(call(capsys, toy_file, flat, "--format", "json")[1])
    assert found["data"]["labels"] == "model" and any("model's own answers" in note for note in found["notes"])
    (case,) = cases
    parts = {tuple(rows): split.labels for rows, split in zip(case.rows, (case.learn, case.choose, case.judge), strict=True)}
    assert torch.cat([*parts.values()]).bincount().tolist() == [12] * 5  # one part may serve twice


def test_a_dry_run_and_a_quiet_one(
    capsys: pytest.CaptureFixture[str], decides: Decides, toy_file: Path, toy_data: Path, tmp_path: Path
) -> None:
    decides("backdoored", cut=(1,))
    code, out, err = call(capsys, toy_file, toy_data, "--dry-run", "--report", tmp_path / "r", "-q")
    assert (code, out, err) == (Exit.OK, "", "") and (tmp_path / "r" / "report.json").is_file()
    assert sorted(p.name for p in toy_file.parent.iterdir()) == ["model.onnx", "preprocessor_config.json"]


def test_an_optimised_copy(capsys: pytest.CaptureFixture[str], decides: Decides, toy_file: Path, toy_data: Path, tmp_path: Path) -> None:
    decides("backdoored", cut=(1,))
    out, fast = tmp_path / "a.onnx", tmp_path / "fast.onnx"
    given = (toy_file, toy_data, "-o", out, "--optimize", fast)
    code, text, err = call(capsys, *given)
    assert (code, err) == (Exit.OK, "") and f"written   {fast}\n" in text and "rnpc verify does not cover this copy" in text
    found = json.loads(call(capsys, *given, "--report", tmp_path / "report", "--format", "json")[1])
    assert found["optimised"]["sha256"] == digest(fast) and found["output"]["sha256"] == digest(out) != digest(fast)
    assert found["optimised"]["images"] > 8 and found["optimised"]["difference"] <= found["optimised"]["bound"]
    assert digest(fast) in (tmp_path / "report" / "report.html").read_text()
    fast.unlink()
    assert call(capsys, *given, "--dry-run")[0] == Exit.OK and not fast.exists()
    decides("inconclusive")
    code, text, _ = call(capsys, *given, "--format", "json")
    assert code == Exit.INCONCLUSIVE and json.loads(text)["optimised"] is None and not fast.exists()


def test_an_optimised_copy_that_is_refused(
    capsys: pytest.CaptureFixture[str], decides: Decides, toy_file: Path, toy_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The hardened file and the report are written all the same."""
    decides("backdoored", cut=(1,))
    monkeypatch.setattr(optimise, "parity", lambda *_: 1.0)
    out, fast, report = tmp_path / "a.onnx", tmp_path / "fast.onnx", tmp_path / "report"
    code, _, err = call(capsys, toy_file, toy_data, "-o", out, "--optimize", fast, "--report", report)
    assert code == Exit.REFUSED and err.count("\n") == 1 and "differs by 1 of the outputs' scale" in err
    assert out.is_file() and not fast.exists() and "not written" in (report / "report.html").read_text()
    given = (toy_file, toy_data, "-o", out, "--optimize", fast, "--fail-on-finding")
    assert call(capsys, *given)[0] == Exit.FINDING, "a finding is told before a copy that is missing"
    assert call(capsys, toy_file, toy_data, "-o", out, "--optimize", out)[0] == Exit.USAGE


def test_channels_that_stay_are_told(
    capsys: pytest.CaptureFixture[str], decides: Decides, toy_file: Path, toy_data: Path, tmp_path: Path
) -> None:
    decides("backdoored", cut=(1,))
    model = onnx.load(toy_file)
    model.graph.node.insert(1, onnx.helper.make_node("Add", ["features", "x"], ["sum"], name="add"))
    model.graph.node[2].input[0] = "sum"
    onnx.save(model, toy_file)
    given = (toy_file, toy_data, "-o", tmp_path / "a.onnx", "--mode", "remove", "--report", tmp_path / "report")
    code, text, err = call(capsys, *given)
    assert code == Exit.OK, err
    whole = json.loads((tmp_path / "report" / "report.json").read_text())
    (entry,) = whole["document"]["kept"]
    assert (entry["site"], entry["channel"]) == ("features", 1) and entry["why"]
    assert f"kept      1 channel stays, zeroed: {entry['why']} (features 1)" in text
    assert "Channels that stay, zeroed" in (tmp_path / "report" / "report.html").read_text()


def test_a_link_to_the_output_stays(
    capsys: pytest.CaptureFixture[str], decides: Decides, toy_file: Path, toy_data: Path, tmp_path: Path
) -> None:
    decides("clean")
    (tmp_path / "real.onnx").write_bytes(b"old")
    (tmp_path / "link.onnx").symlink_to(tmp_path / "real.onnx")
    assert call(capsys, toy_file, toy_data, "-o", tmp_path / "link.onnx")[0] == Exit.OK
    assert (tmp_path / "link.onnx").is_symlink() and (tmp_path / "real.onnx").read_bytes() == toy_file.read_bytes()
