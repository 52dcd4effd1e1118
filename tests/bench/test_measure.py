"""CA and ASR of a file: what counts, and what is kept."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest

from rnpc.bench import measure
from rnpc.bench.measure import Attacked

On = Callable[..., Attacked]


def test_counts(brightness: On, model: Path) -> None:
    answer = measure.measure(model.read_bytes(), brightness())
    assert answer.ca == (100, 100) and answer.asr == (80, 80) and answer.provider == "CPUExecutionProvider"
    assert answer.correct().all() and answer.document()["asr"]["value"] == 1.0


def test_only_the_labels_that_count(brightness: On, model: Path) -> None:
    """An attack on one class is measured on that class alone."""
    assert measure.measure(model.read_bytes(), brightness(counted=(1,))).asr == (20, 20)
    assert measure.measure(model.read_bytes(), brightness(target="next", counted=(0, 1, 2, 3, 4))).asr == (20, 100)


def test_rows(brightness: On, model: Path) -> None:
    answer = measure.measure(model.read_bytes(), brightness(), np.arange(10))
    assert answer.ca == (10, 10) and answer.asr == (8, 8)


def test_a_clean_victim_has_no_asr(brightness: On, model: Path) -> None:
    clean = replace(brightness(), trigger=None, target=None, counted=())
    assert measure.measure(model.read_bytes(), clean).asr is None


def test_kept_by_content(
    brightness: On, model: Path, toy: Callable[..., onnx.ModelProto], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    on, cache = brightness(), tmp_path / "answers"
    first = measure.measured(model.read_bytes(), on, cache)
    with monkeypatch.context() as patch:
        patch.setattr(measure, "measure", lambda *given: pytest.fail("measured twice"))
        assert measure.measured(model.read_bytes(), on, cache) == first
    dark = toy(mean=3.0).SerializeToString()
    others = [(dark, on), (model.read_bytes(), brightness(counted=(1,)))]
    others += [(model.read_bytes(), replace(on, data=replace(on.data, digest="e")))]
    for data, where in others:
        measure.measured(data, where, cache)
    assert len(list(cache.iterdir())) == 4
    monkeypatch.setattr(measure.source, "measuring_digest", lambda: "another code")
    measure.measured(model.read_bytes(), on, cache)
    assert len(list(cache.iterdir())) == 5
