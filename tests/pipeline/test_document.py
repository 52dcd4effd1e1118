"""The document says what was decided and measured, holds nothing that depends on where or when, and is plain JSON."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rnpc.defenses.base import Left, Nothing, Outcome, Relapse, Weights
from rnpc.detectors.base import Accused, Detection
from rnpc.frontends import onnx_file
from rnpc.panel import Words
from rnpc.pipeline import document, harden
from rnpc.pipeline.harden import Decision, Hardened
from rnpc.pipeline.measure import Measured
from rnpc.pipeline.settings import Settings
from rnpc.program import Finding
from rnpc.study.inversion import NEXT

SETTINGS = Settings(method="ft-sam", device="cpu", threads=1, max_ca_drop=0.3, options={"epochs": 2})
Ran = Callable[[Outcome], Hardened]


@pytest.fixture
def ran(toy_file: Path, toy_data: Path, decides: Any, monkeypatch: pytest.MonkeyPatch) -> Ran:
    """ran(outcome): a run of ft-sam on the brightness network that comes to this outcome."""
    decides(None)

    def run(outcome: Outcome) -> Hardened:
        finding = Finding(None, (), None, outcome.reasons)
        monkeypatch.setattr(harden, "decide", lambda case, *_: Decision(finding, None, outcome, case.rows[2]))
        return harden.run(onnx_file.program("toy.onnx", toy_file.read_bytes()), toy_data, SETTINGS, folder=toy_file.parent)

    return run


def tuned(**given: Any) -> Weights:
    """An outcome that moves the scores of all classes alike."""
    bias = np.array([0.5 * 2 * (c + 0.5) / 5 - ((c + 0.5) / 5) ** 2 + 0.125 for c in range(5)], dtype=np.float32)
    return Weights(channels=(), tensors={"bias": bias}, reasons=("tuned",), numbers={"drop": 0.0, "lost": float("nan")}, **given)


def test_a_tuned_file_is_declared(ran: Ran) -> None:
    run = ran(tuned(panels=(Words("Heading", ("a line",)),)))
    found = document.document_of(run, "out.onnx")
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    assert (found["schema"], found["method"], found["verdict"], found["retrained"]) == ("rnpc.harden/1", "ft-sam", None, 1)
    assert found["pruned"] == {"channels": 0, "of": 3, "sites": []} and found["threshold"] is None and found["why"] is None
    assert found["output"]["path"] == "out.onnx" and found["input"]["path"] == "toy.onnx" and found["reasons"] == ["tuned"]
    assert [edit["kind"] for edit in found["edits"]] == ["replace"] and set(run.tensors) == {"bias"}
    assert found["evidence"] == {"drop": 0.0, "lost": None} and found["settings"]["rho"] == 2.0 and found["settings"]["epochs"] == 2
    assert found["accuracy"]["before"] == found["accuracy"]["after"] == 1.0 and found["accuracy"]["drop_bound"] > 0
    assert [panel.title for panel in document.panels_of(run)] == ["Heading"]


def test_nothing_says_why_and_the_output_is_the_input(ran: Ran) -> None:
    run = ran(Nothing(why="it cost too much", left=Left(0.25, 0.5, None, told=True)))
    found = document.document_of(run, "out.onnx")
    assert found["why"] == "it cost too much" and found["output"]["sha256"] == found["input"]["sha256"] and found["edits"] == []
    assert found["accuracy"]["drop_bound"] == 0.0 and found["left"] == {
        "before": 0.5,
        "success": 0.25,
        "natural": None,
        "relapse": None,
        "relapse_bound": None,
        "relapse_by": None,
        "told": True,
        "narrow": None,
    }


def test_what_comes_back_is_told_with_its_bound_and_trigger() -> None:
    told = document.left_of(Left(0.1, 0.9, 0.2, True, (3, 0.12345678), Relapse(0.0123456789, 0.05, "white 3 x 3")))
    assert (told["relapse"], told["relapse_bound"], told["relapse_by"]) == (0.012346, 0.05, "white 3 x 3")
    assert told["narrow"] == {"class": 3, "success": 0.123457}


def test_accuracy_without_an_output() -> None:
    entry = document.accuracy_of(Measured(np.array([1, 1, 0, 1], dtype=bool), None, "CPU"))
    assert entry["before"] == 0.75 and entry["after"] is None and entry["drop_bound"] is None and entry["images"] == 4


def test_labels_have_names(ran: Ran) -> None:
    inputs = ran(Nothing(why="-")).inputs
    assert document.index_of(NEXT) is None and document.index_of(3) == 3
    assert document.name_of(inputs, NEXT) == "next"
    assert document.name_of(replace(inputs, names=("a", "b")), 1) == "b" and document.name_of(inputs, 400) == "400"


def test_a_detections_numbers_and_panels_come_first(ran: Ran) -> None:
    run = ran(tuned(panels=(Words("Second", ()),)))
    seen = Detection("backdoored", (Accused(1, 2.0),), numbers={"p_value": 0.25}, panels=(Words("First", ()),))
    run = replace(run, decision=replace(run.decision, detection=seen))
    assert list(document.evidence_of(run)) == ["p_value", "drop", "lost"]
    assert [panel.title for panel in document.panels_of(run)] == ["First", "Second"]
