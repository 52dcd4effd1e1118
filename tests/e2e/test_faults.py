"""Inputs that an earlier version got wrong, through the commands; the kinds are tested in the rooms, with models of our own making.

benchmarks/faults.py runs all of them, and makes the table of docs/faults.md.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from rnpc.cli import run
from rnpc.errors import Exit

FAULTS = Path(__file__).parents[3] / "shared" / "faults"
DIGITS = FAULTS / "softmax-hides-backdoor" / "clean"
pytestmark = pytest.mark.skipif(not FAULTS.is_dir() and os.environ.get("CI") != "true", reason="needs ../shared/faults")


Call = Callable[..., tuple[int, str, str]]


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str]) -> Call:
    """call(command, model, *arguments) -> exit code, and what was printed."""

    def done(command: str, model: str, *arguments: object) -> tuple[int, str, str]:
        code = run([command, str(FAULTS / model), *map(str, arguments), "--threads", "2", "--device", "cpu", "--format", "json"])
        return code, *capsys.readouterr()

    return done


@pytest.mark.parametrize(
    ("model", "said"),
    [
        ("quantised-message/dynamic.onnx", "the model is quantised dynamically (node image_QuantizeLinear, DynamicQuantizeLinear)"),
        ("quantised-message/qdq.onnx", ""),
        ("quantised-message/qlinear.onnx", ""),
        ("sparse-crash/model.onnx", ""),
        ("unsorted-fp16/model.onnx", ""),
        ("matmul-crash/model.onnx", ""),
        ("mlp-crash/sk_mnist_clean.onnx", ""),
    ],
)
def test_what_is_said_before_the_work(model: str, said: str, call: Call) -> None:
    code, out, err = call("inspect", model)
    refused = json.loads(out)["refused"]
    assert (code, err) == (Exit.REFUSED if said else Exit.OK, "") and (said in refused if said else refused is None)


@pytest.mark.slow
@pytest.mark.parametrize("model", ["softmax-hides-backdoor/dd_mnist_trigger_pattern_all_to_one.onnx", "matmul-crash/model.onnx"])
def test_a_backdoor_is_found_however_the_network_is_written(model: str, call: Call, tmp_path: Path) -> None:
    code, out, _ = call("harden", model, "--defense-data", DIGITS, "--mean", 0, "--std", 1, "-o", tmp_path / "out.onnx")
    found = json.loads(out)
    assert code == Exit.OK and found["verdict"] == "backdoored" and [label["index"] for label in found["target_labels"]] == [0]


@pytest.mark.slow
def test_a_cut_is_judged_under_every_convention_that_serves(call: Call, tmp_path: Path) -> None:
    model = "probe-0-255/dd_mnist_trigger_pattern_all_to_one_logits.onnx"
    code, out, err = call("harden", model, "--defense-data", DIGITS, "-o", tmp_path / "out.onnx")
    if code == Exit.OK:  # a cut that harms none of them may be written
        assert (tmp_path / "out.onnx").is_file() and json.loads(out)["verdict"] == "backdoored"
        return
    assert code == Exit.REFUSED and out == "" and not (tmp_path / "out.onnx").exists()
    assert "the model may be used with others" in err and "say it with --mean and --std" in err


@pytest.mark.slow
@pytest.mark.parametrize("model", ["mlp-crash/sk_mnist_clean.onnx"])
def test_clean_models_are_not_cut(model: str, call: Call, tmp_path: Path) -> None:
    code, out, _ = call("harden", model, "--defense-data", DIGITS, "-o", tmp_path / "out.onnx")
    found = json.loads(out)
    assert found["verdict"] in ("clean", "inconclusive") and code in (Exit.OK, Exit.INCONCLUSIVE) and found["pruned"]["channels"] == 0


@pytest.mark.slow
def test_two_classes_have_no_next(call: Call, tmp_path: Path) -> None:
    """With two classes the label after its own is the other one: a clean model was cut."""
    lines = FAULTS / "two-classes-next"
    given = ("--defense-data", lines / "textline", "--size", "48x192", "-o", tmp_path / "out.onnx")
    code, out, err = call("harden", "two-classes-next/ch_ppocr_mobile_v2.0_cls_infer.onnx", *given)
    assert code in (Exit.OK, Exit.REFUSED, Exit.INCONCLUSIVE), err
    assert not out or json.loads(out)["verdict"] != "backdoored"
