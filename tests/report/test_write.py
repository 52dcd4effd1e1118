"""The two files: same input, same bytes; atomic; every part may be missing."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rnpc import files
from rnpc.errors import SurroundingsError
from rnpc.report import ClassRow, Cut, Evidence, Step, write


def html(folder: Path, document: dict[str, Any], evidence: Evidence) -> str:
    """The page as text."""
    return write(folder, document, evidence)["html"].read_text()


def test_same_bytes(tmp_path: Path, document: dict[str, Any], evidence: Evidence) -> None:
    first, second = write(tmp_path / "a", document, evidence), write(tmp_path / "b", document, evidence)
    assert [first[k].read_bytes() for k in ("html", "json")] == [second[k].read_bytes() for k in ("html", "json")]


def test_json_is_whole_and_canonical(tmp_path: Path, document: dict[str, Any], evidence: Evidence) -> None:
    text = write(tmp_path, document, evidence)["json"].read_text()
    read = json.loads(text)
    assert read["document"] == document
    assert read["evidence"]["cuts"][5]["channels"] == 8 and read["evidence"]["triggers"][0]["image"]["shape"] == [3, 32, 32]
    assert text == json.dumps(read, sort_keys=True, separators=(",", ":"), ensure_ascii=False) + "\n"


def test_page_is_offline_and_names_what_matters(tmp_path: Path, document: dict[str, Any], evidence: Evidence) -> None:
    page = html(tmp_path, document, evidence)
    assert "<script" not in page
    links = [v for v in re.findall(r'(?:src|href)="([^"]+)"', page) if not v.startswith(("data:", "#"))]
    assert links == [] and "@import" not in page and "http-equiv" in page
    for words in ("Backdoor found and pruned", "speed limit 20", document["output"]["sha256"], "rnpc harden model.onnx --defense-data DIR"):
        assert words in page
    assert page.count('<svg class="plot"') == 4 and page.count("<img ") == 4
    ids = re.findall(r'\bid="([^"]+)"', page)
    assert len(ids) == len(set(ids))


@pytest.mark.parametrize(
    ("verdict", "words"),
    [("clean", "No backdoor found"), ("inconclusive", "Inconclusive"), (None, "without a verdict"), ("backdoored", "found, not removed")],
)
def test_empty_evidence_is_explained(tmp_path: Path, verdict: str | None, words: str) -> None:
    page = html(tmp_path, {"verdict": verdict, "rnpc": "0.1.0", "method": "rnp", "seed": 0}, Evidence())
    assert words in page and page.count('class="absent"') == 6 and "<svg" not in page


def test_text_from_outside_is_escaped(tmp_path: Path, document: dict[str, Any]) -> None:
    nasty = "<script>alert(1)</script> $x_$"
    document = {**document, "input": {"path": nasty, "sha256": "0"}, "target_labels": [{"index": 0, "name": nasty, "share": 1.0}]}
    course = (Step(0, 1.0, 0.1, np.array([0.5, 0.5])),)
    scores = {nasty: np.array([0.0, 1.0])}
    assert "<script" not in html(tmp_path, document, Evidence(course, scores=scores, pruned={nasty: [1]}, classes=(ClassRow(0, nasty),)))


def test_all_to_all_has_no_index(tmp_path: Path, document: dict[str, Any], evidence: Evidence) -> None:
    found = {**document, "target_labels": [{"index": None, "name": "next", "share": None}]}
    changed = replace(evidence, triggers=tuple(replace(trigger, label=None) for trigger in evidence.triggers))
    page = html(tmp_path, found, changed)
    assert "the label after an image's own" in page.replace("&#39;", "'") and "None" not in page


def test_odd_numbers_do_not_break_it(tmp_path: Path, document: dict[str, Any]) -> None:
    nan, inf = float("nan"), float("inf")
    cut = Cut(0, nan, 1.0, 1.0, 1.0, 0.0)
    scores = {"a": np.array([nan, inf, 0.0]), "b": np.zeros(1)}
    evidence = Evidence(cuts=(cut,), chosen=0, scores=scores, classes=(ClassRow(1, "x", nan, inf),))
    files = write(tmp_path, {**document, "threshold": None, "attack_success": {"before": 1.0, "after": 0.0, "images": 400}}, evidence)
    assert json.loads(files["json"].read_text())["evidence"]["cuts"][0]["threshold"] is None
    assert "100.0\u00a0% → 0.0\u00a0%" in files["html"].read_text()


def test_failed_write_leaves_the_old_report(
    tmp_path: Path, document: dict[str, Any], evidence: Evidence, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, document, Evidence())
    before = {p.name: p.read_bytes() for p in tmp_path.iterdir()}

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files.os, "fsync", full)
    with pytest.raises(SurroundingsError, match="No space left"):
        write(tmp_path, document, evidence)
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == before


def test_a_file_in_the_way_is_refused(tmp_path: Path, document: dict[str, Any]) -> None:
    (tmp_path / "taken").write_text("")
    with pytest.raises(SurroundingsError, match="taken: cannot be written"):
        write(tmp_path / "taken", document, Evidence())
