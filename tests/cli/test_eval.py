"""`rnpc eval` as a user types it."""

from __future__ import annotations

import errno
import json
import os
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from rnpc.cli import run
from rnpc.errors import Exit

VICTIM = Path(__file__).parents[3] / "shared" / "victims" / "gtsrb-r18w32-badnets"


@pytest.fixture
def trigger_file(tmp_path: Path) -> Path:
    """Turns the upper half of the classes' brightness into class 4 and leaves dark images: max(x, 0.9) where x >= 0.4."""
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", 3, 8, 8]) for name in ("image", "triggered"))
    values = [helper.make_tensor(name, TensorProto.FLOAT, [], [value]) for name, value in (("limit", 0.4), ("level", 0.9))]
    nodes = [helper.make_node("Less", ["image", "limit"], ["dark"]), helper.make_node("Where", ["dark", "image", "level"], ["triggered"])]
    model = helper.make_model(helper.make_graph(nodes, "t", [x], [y], values), opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    onnx.save(model, tmp_path / "trigger.onnx")
    return tmp_path / "trigger.onnx"


def call(capsys: pytest.CaptureFixture[str], *args: object) -> tuple[int, str, str]:
    code = run(["eval", *map(str, args), "--threads", "1", "--device", "cpu"])
    out, err = capsys.readouterr()
    return code, out, err


def report(capsys: pytest.CaptureFixture[str], *args: object) -> dict[str, Any]:
    code, out, _ = call(capsys, *args, "--format", "json")
    assert code == Exit.OK
    document: dict[str, Any] = json.loads(out)
    return document


def test_clean_accuracy_as_text(capsys: pytest.CaptureFixture[str], toy_file: Path, toy_data: Path) -> None:
    code, out, err = call(capsys, toy_file, "--data", toy_data)
    assert code == Exit.OK and err == ""
    assert "CA   100.00%  (60 of 60, 95 % interval 94.04% to 100.00%)" in out and "CPUExecutionProvider" in out


def test_the_document_is_complete_and_reproducible(
    capsys: pytest.CaptureFixture[str], toy_file: Path, toy_data: Path, trigger_file: Path
) -> None:
    found = report(capsys, toy_file, "--data", toy_data, "--trigger", trigger_file, "--target", 4)
    assert found["schema"] == "rnpc.eval/1" and found["model"]["path"] == "model.onnx" and found["data"]["images"] == 60
    assert found["accuracy"]["hits"] == 60 and found["class_order"] == "integer names are output indices"
    # Of the 48 images that are not of class 4, those of classes 2 and 3 are bright enough.
    assert found["attack"]["success"] == {"value": 0.5, "interval": [0.352252, 0.647748], "hits": 24, "images": 48}
    assert found["attack"]["target"] == {"index": 4, "name": "00004"} and str(toy_data.parent) not in json.dumps(found)
    assert report(capsys, toy_file, "--data", toy_data, "--trigger", trigger_file, "--target", "00004") == found


def test_next_counts_every_image(capsys: pytest.CaptureFixture[str], toy_file: Path, toy_data: Path, trigger_file: Path) -> None:
    found = report(capsys, toy_file, "--data", toy_data, "--trigger", trigger_file, "--target", "next")
    assert (found["attack"]["success"]["hits"], found["attack"]["success"]["images"]) == (12, 60)
    assert found["attack"]["target"]["name"] == "next"


def test_an_attack_on_one_class(capsys: pytest.CaptureFixture[str], toy_file: Path, toy_data: Path, trigger_file: Path) -> None:
    attack = ("--data", toy_data, "--trigger", trigger_file, "--target", 4)
    for source, hits in ((2, 12), ("00000", 0)):
        found = report(capsys, toy_file, *attack, "--source", source)["attack"]
        assert (found["success"]["hits"], found["success"]["images"]) == (hits, 12) and found["counted"] == f"images of class {int(source)}"
    for source, code, said in ((4, Exit.USAGE, "no class beside the target"), ("next", Exit.USAGE, "no class"), (77, Exit.USAGE, "77")):
        found_code, _, err = call(capsys, toy_file, *attack, "--source", source)
        assert found_code == code and said in err and err.count("\n") == 1
    code, _, err = call(capsys, toy_file, "--data", toy_data, "--source", 2)
    assert code == Exit.USAGE and "--source needs triggered images" in err


def test_bounds(capsys: pytest.CaptureFixture[str], toy_file: Path, toy_data: Path, trigger_file: Path) -> None:
    attack = ("--trigger", trigger_file, "--target", 4)
    assert call(capsys, toy_file, "--data", toy_data, "--min-ca", 1, *attack, "--max-asr", 0.5)[0] == Exit.OK
    code, out, _ = call(capsys, toy_file, "--data", toy_data, *attack, "--max-asr", 0.4)
    assert code == Exit.FINDING and "above --max-asr" in out


def test_triggered_folders_with_and_without_labels(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, toy_file: Path, toy_data: Path
) -> None:
    white = Image.fromarray(np.full((8, 8, 3), 230, np.uint8))
    for name in ("00001", "00004"):
        (tmp_path / "triggered" / name).mkdir(parents=True)
        white.save(tmp_path / "triggered" / name / "0.png")
    found = report(capsys, toy_file, "--data", toy_data, "--triggered-data", tmp_path / "triggered", "--target", 4)
    assert found["attack"]["success"]["images"] == 1 and found["attack"]["counted"].endswith("not the target")
    flat = tmp_path / "triggered" / "00001"
    found = report(capsys, toy_file, "--data", toy_data, "--triggered-data", flat, "--target", 4)
    assert found["attack"]["success"]["images"] == 1 and "no true labels" in found["attack"]["counted"]
    code, _, err = call(capsys, toy_file, "--data", toy_data, "--triggered-data", flat, "--target", "next")
    assert code == Exit.USAGE and "needs true labels" in err


def test_only_images_of_the_target_class_are_no_measurement(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, toy_file: Path, toy_data: Path
) -> None:
    (tmp_path / "t").mkdir()
    (toy_data / "00004").rename(tmp_path / "t" / "00004")
    code, _, err = call(capsys, toy_file, "--data", toy_data, "--triggered-data", tmp_path / "t", "--target", 4)
    assert code == Exit.REFUSED and "every triggered image has the target" in err


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["--target", "0"], "--target needs triggered images"),
        (["--trigger", "t.onnx"], "needs a target"),
        (["--max-asr", "0.1"], "--max-asr needs triggered images"),
        (["--trigger", "t.onnx", "--triggered-data", "d", "--target", "0"], "both given"),
        (["--min-ca", "nan"], "no number"),
        (["--trigger", "t.onnx", "--target", "0", "--max-asr", "nan"], "no number"),
        (["--data", ""], "an empty path"),
        (["--mean", "a"], "no list of numbers"),
        (["--size", "0x3"], "no size"),
        (["--preprocess", "none.json"], "no such file"),
    ],
)
def test_usage_errors(capsys: pytest.CaptureFixture[str], toy_file: Path, toy_data: Path, args: list[str], said: str) -> None:
    code, out, err = call(capsys, toy_file, "--data", toy_data, *args)
    assert code == Exit.USAGE and said in err and out == ""


def test_bad_input_is_one_line(capsys: pytest.CaptureFixture[str], tmp_path: Path, toy_file: Path, toy_data: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    flat = toy_data / "00001"
    for args, said in [
        ((toy_file, "--data", empty), "no images in this folder"),
        ((toy_file, "--data", tmp_path / "none"), "no such file or folder"),
        ((tmp_path / "none.onnx", "--data", toy_data), "no such file"),
        ((toy_file, "--data", flat), "have no labels"),
        ((toy_file, "--data", toy_data, "--trigger", tmp_path / "none.onnx", "--target", 0), "cannot be read"),
        ((toy_file, "--data", toy_data, "--trigger", flat / "0001.png", "--target", 0), "onnxruntime cannot load it"),
    ]:
        code, out, err = call(capsys, *args)
        assert code == Exit.REFUSED and said in err and err.count("\n") == 1 and out == ""
    code, _, err = call(capsys, toy_file, "--data", toy_data, "--trigger", toy_file, "--target", "cat")
    assert code == Exit.USAGE and "neither a class nor an index" in err


def test_scores_that_are_not_finite_are_refused(capsys: pytest.CaptureFixture[str], toy_file: Path, toy_data: Path) -> None:
    model = onnx.load(toy_file)
    bias = next(t for t in model.graph.initializer if t.name == "bias")
    bias.CopyFrom(numpy_helper.from_array(np.full(5, np.nan, np.float32), "bias"))
    onnx.save(model, toy_file)
    code, out, err = call(capsys, toy_file, "--data", toy_data)
    assert code == Exit.REFUSED and "scores are not finite" in err and out == ""


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EPIPE])
def test_standard_output_that_takes_nothing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], toy_file: Path, toy_data: Path, number: int
) -> None:
    def lost(text: str) -> None:
        raise OSError(number, "gone")

    monkeypatch.setattr(sys, "stdout", SimpleNamespace(write=lost, flush=lambda: None))
    assert run(["eval", str(toy_file), "--data", str(toy_data), "--device", "cpu"]) == Exit.SURROUNDINGS
    err = capsys.readouterr().err
    assert err.startswith("rnpc: standard output: cannot be written (gone)") if number == errno.ENOSPC else err == ""


@pytest.mark.skipif(not VICTIM.is_dir() and os.environ.get("CI") != "true", reason="needs ../shared/victims")
def test_a_victims_trigger_works_on_images_it_never_saw(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    # Noise, not traffic signs: the trigger alone must do it.
    np.savez(tmp_path / "noise.npz", images=np.random.default_rng(0).integers(0, 256, (64, 32, 32, 3), dtype=np.uint8))
    found = report(capsys, VICTIM / "folded.onnx", "--data", tmp_path / "noise.npz", "--trigger", VICTIM / "trigger.onnx", "--target", 0)
    assert found["accuracy"] is None and found["attack"]["success"]["value"] > 0.9
