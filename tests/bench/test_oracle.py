"""The oracle's sweep along a ranking."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import onnx
import pytest

from rnpc import frontends
from rnpc.bench import oracle
from rnpc.bench.measure import Answer, Attacked

RANKING = [("features", channel, 0.0) for channel in range(3)]


def point(count: int, ca: int, asr: int) -> tuple[int, Answer]:
    """A cut whose rates are in thousandths."""
    return count, Answer((ca, 1000), (asr, 1000), "CPU", "")


def test_choice() -> None:
    assert oracle.choose([point(0, 970, 1000), point(2, 960, 300), point(4, 951, 100), point(8, 949, 0)]) == 4
    assert oracle.choose([point(0, 970, 1000), point(2, 900, 0)]) == 0
    assert oracle.choose([point(0, 970, 9), point(2, 970, 9)]) == 0


def test_no_layer_is_cut_to_nothing(model: Path) -> None:
    program = frontends.load(model)
    assert oracle.spared(program, RANKING) == RANKING[:2]
    assert oracle.written(program, []) == program.source and oracle.written(program, RANKING[:1]) != program.source


def test_sample_is_the_same_for_all() -> None:
    rows = oracle.sample(5000)
    assert len(rows) == oracle.SAMPLE == len(set(rows)) and (oracle.sample(5000) == rows).all() and len(oracle.sample(7)) == 7


def test_sweep(brightness: Callable[..., Attacked], model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(oracle, "GRID", (0, 1, 2))
    swept = oracle.oracle(model, RANKING, brightness(), tmp_path / "cache", {})
    assert swept is not None and swept["channels"] == 0 and swept["asr"]["value"] == 1.0
    # A cut of one channel of three makes every image darker: hopeless, and so the last of the sweep.
    assert [each["channels"] for each in swept["sample"]["cuts"]] == [0, 1]


def test_its_own_cut_is_a_point(brightness: Callable[..., Attacked], model: Path, tmp_path: Path) -> None:
    swept = oracle.oracle(model, RANKING, brightness(), tmp_path / "cache", {1: {"mine": True}})
    assert swept is not None and [each["channels"] for each in swept["sample"]["cuts"]] == [0, 1]


def test_nothing_to_sweep(brightness: Callable[..., Attacked], model: Path, tmp_path: Path, toy: Callable[..., onnx.ModelProto]) -> None:
    from dataclasses import replace

    clean = replace(brightness(), trigger=None, target=None, counted=())
    assert oracle.oracle(model, RANKING, clean, tmp_path, {}) is None and oracle.oracle(model, [], brightness(), tmp_path, {}) is None
