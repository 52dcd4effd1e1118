"""Bad input to `rnpc harden`: one line on standard error, the right exit code, and an earlier output that stays as it was."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from rnpc.cli import run
from rnpc.errors import Exit

EARLIER = b"an earlier output"
NUMBERS = (["--seed", str(2**32)], ["--mean", "nan"], ["--mean", "inf"], ["--std", "0"], ["--std", "1,-1,1"], ["--std", "0.5"])
Refused = Callable[..., str]


@pytest.fixture
def refused(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Refused:
    """refused(code, model, data, *args): runs, checks all that holds for every refusal, and returns the line."""
    out = tmp_path / "out.onnx"
    out.write_bytes(EARLIER)

    def check(code: Exit, model: object, data: object, *args: object) -> str:
        output = () if "-o" in args else ("-o", out)
        given = ["harden", model, "--defense-data", data, *output, *args, "--threads", 1, "--device", "cpu", "--format", "json"]
        before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
        found = run([str(arg) for arg in given])
        text, line = capsys.readouterr()
        assert (found, text) == (code, "") and line.startswith("rnpc: ") and line.count("\n") == 1, line
        assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before
        return line

    return check


def edited(source: Path, change: Callable[[onnx.ModelProto], None]) -> Path:
    """The model with a change, beside the original."""
    model = onnx.load(source)
    change(model)
    path = source.with_name("edited.onnx")
    onnx.save(model, path)
    return path


def test_no_such_file(refused: Refused, tmp_path: Path, toy_file: Path, toy_data: Path) -> None:
    assert "no such file" in refused(Exit.REFUSED, tmp_path / "none.onnx", toy_data)
    assert "no such file or folder" in refused(Exit.REFUSED, toy_file, tmp_path / "none")
    assert "directory" in refused(Exit.REFUSED, toy_data, toy_data)
    long = tmp_path / ("x" * 300)
    for model, data in ((long, toy_data), (toy_file, long)):
        assert "File name too long" in refused(Exit.REFUSED, model, data)


def test_the_model_is_looked_at_before_the_default_output(capsys: pytest.CaptureFixture[str], tmp_path: Path, toy_data: Path) -> None:
    model = tmp_path / "none" / "model.onnx"
    assert run(["harden", str(model), "--defense-data", str(toy_data)]) == Exit.REFUSED
    assert capsys.readouterr().err == f"rnpc: {model}: no such file; check the path\n"


def test_an_empty_path_is_no_folder(refused: Refused, toy_file: Path, toy_data: Path) -> None:
    assert "'MODEL': an empty path" in refused(Exit.USAGE, "", toy_data)
    assert "'--defense-data': an empty path" in refused(Exit.USAGE, toy_file, "")
    assert "'-o': an empty path" in refused(Exit.USAGE, toy_file, toy_data, "-o", "").replace("'-o' / '--output'", "'-o'")


def test_not_an_onnx_file(refused: Refused, tmp_path: Path, toy_data: Path) -> None:
    (tmp_path / "m.onnx").write_text("a letter to a friend\n" * 40)
    assert "m.onnx: not an ONNX file" in refused(Exit.REFUSED, tmp_path / "m.onnx", toy_data)
    (tmp_path / "m.onnx").write_bytes(b"")
    assert "empty file" in refused(Exit.REFUSED, tmp_path / "m.onnx", toy_data)


def test_another_zip_archive(refused: Refused, tmp_path: Path, toy_data: Path) -> None:
    np.savez(tmp_path / "m.npz", images=np.zeros(3))
    assert "m.npz: a zip archive, not a model" in refused(Exit.REFUSED, tmp_path / "m.npz", toy_data)


def test_truncated(refused: Refused, toy_file: Path, toy_data: Path) -> None:
    data = toy_file.read_bytes()
    for share in (0.3, 0.6, 0.95):
        toy_file.write_bytes(data[: int(len(data) * share)])
        assert "truncated" in refused(Exit.REFUSED, toy_file, toy_data)


def test_no_classifier(refused: Refused, toy_file: Path, toy_data: Path) -> None:
    def give_features(model: onnx.ModelProto) -> None:
        model.graph.output[0].CopyFrom(helper.make_tensor_value_info("features", TensorProto.FLOAT, ["n", 3, 8, 8]))

    assert "not class scores" in refused(Exit.REFUSED, edited(toy_file, give_features), toy_data)


def test_nothing_prunable(refused: Refused, toy_file: Path, toy_data: Path) -> None:
    def drop_conv(model: onnx.ModelProto) -> None:
        del model.graph.node[0]
        model.graph.node[0].input[0] = "x"

    assert "nothing prunable" in refused(Exit.REFUSED, edited(toy_file, drop_conv), toy_data)


def test_unsupported_operators_are_all_named(refused: Refused, toy_file: Path, toy_data: Path) -> None:
    def put_in(model: onnx.ModelProto) -> None:
        for k, source in enumerate(("features", "one")):
            model.graph.node.insert(1 + k, helper.make_node("Sinh", [source], [("one", "two")[k]], name=f"strange{k}"))
        model.graph.node[3].input[0] = "two"

    def steep(model: onnx.ModelProto) -> None:
        put_in(model)
        weight = next(t for t in model.graph.initializer if t.name == "w")  # small enough for sinh to be the identity
        head = next(t for t in model.graph.initializer if t.name == "fc")
        weight.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(weight) * np.float32(0.01), "w"))
        head.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(head) * np.float32(100), "fc"))

    line = refused(Exit.REFUSED, edited(toy_file, steep), toy_data)
    assert "unsupported operators" in line and "node strange0" in line and "node strange1" in line


def test_custom_operators_are_listed_before_onnxruntime_starts(refused: Refused, toy_file: Path, toy_data: Path) -> None:
    def put_in(model: onnx.ModelProto) -> None:
        model.graph.node.insert(1, helper.make_node("Strange", ["features"], ["odd"], name="strange", domain="acme"))
        model.graph.node[2].input[0] = "odd"
        model.opset_import.append(helper.make_opsetid("acme", 1))

    line = refused(Exit.REFUSED, edited(toy_file, put_in), toy_data)
    assert line.startswith("rnpc: edited.onnx: unsupported operators: Strange (node strange, acme")


def test_empty_folder(refused: Refused, tmp_path: Path, toy_file: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert "no images in this folder" in refused(Exit.REFUSED, toy_file, tmp_path / "empty")


def test_unreadable_images(refused: Refused, toy_file: Path, toy_data: Path) -> None:
    for file in sorted(toy_data.rglob("*.png"))[::5]:
        file.write_bytes(file.read_bytes()[:60])
    assert "12 of 60 images cannot be decoded" in refused(Exit.REFUSED, toy_file, toy_data)


def test_class_folders_that_do_not_fit(refused: Refused, toy_file: Path, toy_data: Path) -> None:
    shutil.copytree(toy_data / "00000", toy_data / "bird")
    assert "6 classes for a model with 5 outputs" in refused(Exit.REFUSED, toy_file, toy_data)
    shutil.rmtree(toy_data / "bird")
    (toy_data / "00000").rename(toy_data / "cat")
    shutil.rmtree(toy_data / "00001")
    assert "do not fit a model with 5 outputs" in refused(Exit.REFUSED, toy_file, toy_data)


def test_too_few_images(refused: Refused, toy_file: Path, toy_data: Path) -> None:
    line = refused(Exit.INCONCLUSIVE, toy_file, toy_data)
    assert line.startswith(f"rnpc: {toy_data}: 60 images cannot show") and "at least 199 images" in line


def test_output_equal_to_input(refused: Refused, tmp_path: Path, toy_file: Path, toy_data: Path) -> None:
    assert "the output is an input" in refused(Exit.USAGE, toy_file, toy_data, "-o", toy_file)
    (tmp_path / "link.onnx").symlink_to(toy_file)
    assert "the output is an input" in refused(Exit.USAGE, toy_file, toy_data, "-o", tmp_path / "link.onnx")
    assert "the output is an input" in refused(Exit.USAGE, toy_file, toy_data, "--plan-out", toy_file)
    assert "the output is an input" in refused(Exit.USAGE, toy_file, toy_data, "--timings", toy_file)


def test_what_lies_beside_the_model_is_input_too(refused: Refused, tmp_path: Path, toy_file: Path, toy_data: Path) -> None:
    model = toy_file.with_name("outside.onnx")
    onnx.save(onnx.load(toy_file), model, save_as_external_data=True, location="model.data", size_threshold=0)
    (tmp_path / "pre.json").write_bytes((toy_file.parent / "preprocessor_config.json").read_bytes())
    for name in ("model.data", "preprocessor_config.json"):
        for option in ("-o", "--plan-out", "--timings"):
            assert "the output is an input" in refused(Exit.USAGE, model, toy_data, option, toy_file.parent / name)
    given = ("--preprocess", tmp_path / "pre.json", "--timings", tmp_path / "pre.json")
    assert "the output is an input" in refused(Exit.USAGE, model, toy_data, *given)


def test_two_outputs_in_one_place(refused: Refused, tmp_path: Path, toy_file: Path, toy_data: Path) -> None:
    pair = ("--arch", "resnet18", "-o", tmp_path / "pair.onnx", "--plan-out", tmp_path / "pair.safetensors")
    assert "two outputs" in refused(Exit.USAGE, toy_file, toy_data, *pair)
    assert "two outputs" in refused(Exit.USAGE, toy_file, toy_data, "--plan-out", tmp_path / "out.onnx")
    both = tmp_path / "both.json"
    assert "two outputs" in refused(Exit.USAGE, toy_file, toy_data, "--plan-out", both, "--timings", both)


def test_unwritable_outputs(refused: Refused, tmp_path: Path, toy_file: Path, toy_data: Path) -> None:
    for output in (tmp_path / "none" / "out.onnx", tmp_path, toy_file / "out.onnx"):
        refused(Exit.SURROUNDINGS, toy_file, toy_data, "-o", output)
    refused(Exit.SURROUNDINGS, toy_file, toy_data, "-o", tmp_path / ("x" * 300))
    for report in (toy_file, toy_file / "report"):
        refused(Exit.SURROUNDINGS, toy_file, toy_data, "--report", report)
    refused(Exit.SURROUNDINGS, toy_file, toy_data, "--plan-out", tmp_path / "none" / "plan.json")


def test_usage(capsys: pytest.CaptureFixture[str], toy_file: Path, toy_data: Path) -> None:
    for args in (["--method", "magic"], ["--seed", "-1"], ["--device", "tpu"], ["--max-ca-drop", "2"], ["--nonsense"], *NUMBERS):
        code = run(["harden", str(toy_file), "--defense-data", str(toy_data), *args])
        out, err = capsys.readouterr()
        assert (code, out) == (Exit.USAGE, "") and err.startswith("rnpc: ") and err.count("\n") == 1 and args[0] in err, args
    assert run(["harden", str(toy_file)]) == Exit.USAGE and "--defense-data" in capsys.readouterr().err
