"""The Python API: a torch module hardened before export, weights files, and what a call refuses."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

import rnpc
from rnpc import api
from rnpc.data.images import ImageSet
from rnpc.data.infer import Flags
from rnpc.errors import InputRefused, SurroundingsError, UsageError
from rnpc.program import Preprocessing
from rnpc.runtime import Session, predict

CLASSES, SIZE = 3, 8
PLAIN = {"mean": (0.0,) * 3, "std": (1.0,) * 3}
FACTORY = """
from torch import nn

def make():
    return nn.Sequential(
        nn.Conv2d(3, 6, 1, bias=False), nn.BatchNorm2d(6), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 3)
    )
"""


@pytest.fixture
def module() -> nn.Module:
    """Tells the brightest colour; channels 3 to 5 are idle."""
    scope: dict[str, Any] = {}
    exec(FACTORY, scope)
    net: nn.Sequential = scope["make"]()
    conv, norm, head = net[0], net[1], net[5]
    with torch.no_grad():
        conv.weight.zero_()
        conv.weight[:3, :, 0, 0] = torch.eye(3)
        norm.running_var.fill_(1.0)
        head.weight.zero_()
        head.weight[:, :3] = 4 * torch.eye(3)
        head.bias.zero_()
    return net.train()


@pytest.fixture
def data() -> tuple[np.ndarray, np.ndarray]:
    """60 images and their labels."""
    labels = np.arange(60) % CLASSES
    noise = np.random.default_rng(0).integers(0, 60, (60, SIZE, SIZE, 3))
    return (noise + 150 * np.eye(CLASSES, dtype=np.int64)[labels][:, None, None]).astype(np.uint8), labels


Decides = Callable[..., list[Any]]


def test_a_module_comes_back_hardened(module: nn.Module, data: tuple[np.ndarray, np.ndarray], decides: Decides) -> None:
    decides("backdoored", (1, 4), 0.5)
    before = {name: value.clone() for name, value in module.state_dict().items()}
    found = rnpc.harden(module, *data, **PLAIN)
    assert found.module is not None and found.onnx is not None and found.document["verdict"] == "backdoored"
    assert module.training and all(torch.equal(value, before[name]) for name, value in module.state_dict().items())
    norm = found.module[1]  # type: ignore[index]
    assert norm.weight[[1, 4]].tolist() == [0.0, 0.0] and norm.bias[[1, 4]].tolist() == [0.5, 0.5]
    assert norm.weight[[0, 2, 3, 5]].tolist() == [1.0] * 4
    x = torch.from_numpy(data[0].transpose(0, 3, 1, 2).copy()).float() / 255
    with torch.no_grad():
        scores = found.module.eval()(x).numpy()
    assert scores == pytest.approx(Session(found.onnx, device="cpu", threads=1).run(x.numpy()), abs=1e-4)
    assert found.document["pruned"]["channels"] == 2 and found.document["accuracy"]["before"] == 1.0
    assert found.document["accuracy"]["after"] == float(np.mean(scores.argmax(1) == data[1]))


def test_a_clean_module_comes_back_as_a_copy(module: nn.Module, data: tuple[np.ndarray, np.ndarray], decides: Decides) -> None:
    decides("clean")
    found = rnpc.harden(module, *data, **PLAIN)
    assert found.module is not None and found.module is not module and found.onnx is not None
    copied = found.module.state_dict()
    assert all(torch.equal(value, copied[name]) for name, value in module.state_dict().items())


def test_an_inconclusive_run_gives_nothing_back(module: nn.Module, data: tuple[np.ndarray, np.ndarray], decides: Decides) -> None:
    decides("inconclusive")
    found = rnpc.harden(module, *data, **PLAIN)
    assert found.module is None and found.onnx is None and found.document["verdict"] == "inconclusive"


def test_images_may_come_without_labels_or_as_a_set(module: nn.Module, data: tuple[np.ndarray, np.ndarray], decides: Decides) -> None:
    decides("clean")
    assert rnpc.harden(module, data[0], **PLAIN).document["data"]["labels"] == "model"
    found = ImageSet(data[0], data[1], tuple(map(str, range(60))), ("0", "1", "2"))
    assert rnpc.harden(module, found, **PLAIN).document["data"]["labels"] == "integer names are output indices"


def test_data_that_does_not_fit_is_refused(module: nn.Module, data: tuple[np.ndarray, np.ndarray]) -> None:
    images, labels = data
    for given, said in (
        ((images.astype(np.float32), labels), "uint8"),
        ((images[0], labels), "uint8"),
        ((images, labels[:-1]), "labels of shape"),
        ((images, np.where(labels == 2, 7, labels)), "label 7 does not fit"),
        ((images, labels - 1), "label -1 does not fit"),
        ((images, (labels + 1) % 3), "another order of the classes would give 100%"),
    ):
        with pytest.raises(InputRefused, match=said):
            rnpc.harden(module, *given, **PLAIN)


def test_settings_are_checked() -> None:
    with pytest.raises(UsageError, match="no such method"):
        api.Settings(method="magic")
    for share in (0.0, 1.0, -0.1, float("nan")):
        with pytest.raises(UsageError, match="no share"):
            api.Settings(max_ca_drop=share)
    for seed in (-1, 2**32):
        with pytest.raises(UsageError, match="no seed"):
            api.Settings(seed=seed)


def test_shapes_that_are_given_stay(module: nn.Module, data: tuple[np.ndarray, np.ndarray], tmp_path: Path) -> None:
    """Said before any work, not after it."""
    removing = api.Settings(mode="remove")
    with pytest.raises(UsageError, match="channels cannot be removed from a torch module"):
        rnpc.harden(module, *data, **PLAIN, settings=removing)
    with pytest.raises(UsageError, match="channels cannot be removed"):
        api.harden_file(tmp_path / "none.safetensors", tmp_path, settings=removing, way=api.Way("tiny_factory:make"))


def test_weights_in_safetensors_out(
    module: nn.Module, data: tuple[np.ndarray, np.ndarray], decides: Decides, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    decides("backdoored", (1, 4), 0.5)
    (tmp_path / "tiny_factory.py").write_text(FACTORY)
    monkeypatch.syspath_prepend(tmp_path)
    save_file(module.state_dict(), tmp_path / "w.safetensors")
    np.savez(tmp_path / "clean.npz", images=data[0], labels=data[1])
    flags = Flags(mean=PLAIN["mean"], std=PLAIN["std"], size=(SIZE, SIZE))
    out = tmp_path / "w.hardened.onnx"
    asked = {"flags": flags, "way": api.Way("tiny_factory:make")}
    result = api.harden_file(tmp_path / "w.safetensors", tmp_path / "clean.npz", out.with_suffix(".safetensors"), **asked)  # type: ignore[arg-type]
    assert result.written == (out, out.with_suffix(".safetensors")) and all(path.is_file() for path in result.written)
    state = load_file(out.with_suffix(".safetensors"))
    assert set(state) == set(module.state_dict())
    assert state["1.weight"][[1, 4]].tolist() == [0.0, 0.0] and state["1.bias"][[1, 4]].tolist() == [0.5, 0.5]
    onnx.checker.check_model(onnx.load(out))
    module.load_state_dict(state)
    want = module.eval()(torch.from_numpy(data[0].transpose(0, 3, 1, 2).copy()).float() / 255).detach().numpy()
    pre = Preprocessing(SIZE, SIZE)
    assert predict(Session(out.read_bytes(), device="cpu", threads=1), data[0], pre) == pytest.approx(want, abs=1e-4)


def test_outputs_are_checked_before_any_work(tmp_path: Path, toy_file: Path, toy_data: Path) -> None:
    with pytest.raises(UsageError, match="an input"):
        api.harden_file(toy_file, toy_data, toy_file)
    with pytest.raises(SurroundingsError):
        api.harden_file(toy_file, toy_data, tmp_path / "none" / "out.onnx")
    np.savez(tmp_path / "clean.npz", images=np.zeros((4, 8, 8, 3), np.uint8))
    with pytest.raises(UsageError, match="an input"):
        api.harden_file(toy_file, tmp_path / "clean.npz", tmp_path / "clean.npz")
    weights = tmp_path / "w.safetensors"
    weights.write_bytes(b"weights")
    for out, said in ((tmp_path / "w.onnx", "an input"), (tmp_path / "w.safetensors", "an input")):
        with pytest.raises(UsageError, match=said):
            api.harden_file(weights, toy_data, out, way=api.Way("resnet18"))
    assert weights.read_bytes() == b"weights"


def test_torch_keeps_its_thread_count(module: nn.Module, data: tuple[np.ndarray, np.ndarray], decides: Decides) -> None:
    decides("clean")
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        rnpc.harden(module, *data, **PLAIN, settings=api.Settings(threads=2))
        assert torch.get_num_threads() == 1
    finally:
        torch.set_num_threads(before)
