"""A method's record."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from rnpc.bench.tables.summary import files, summary

Make = Callable[..., dict[str, Any]]


def test_summary(line: Make) -> None:
    found = [line(1, (1000, 10)), line(2, (990, 30), lost=30, label_right=False), line(3, None, lost=0), line(4, None, untouched=False)]
    document = summary("s", found, 6)
    group = document["groups"][0]
    assert document["cells"] == {"all": 6, "done": 4, "failed": 0, "not_run": 2}
    assert group["asr_after"]["mean"] == pytest.approx(0.02) and group["asr_after"]["worst"]["number"] == 2
    assert group["ca_drop_backdoored"]["mean"] == pytest.approx(0.02) and group["ca_drop_backdoored"]["worst"]["value"] == 0.03
    assert (group["label_right"]["hits"], group["label_right"]["cells"]) == (1, 2)
    assert (group["clean_untouched"]["hits"], group["clean_untouched"]["cells"]) == (1, 2)
    low, high = group["asr_after"]["interval"]
    assert 0.01 - 1e-12 <= low < 0.02 < high <= 0.03 + 1e-12


def test_forms_are_one_victim(line: Make) -> None:
    found = [line(1, (1000, 0)), line(1, (1000, 100), form="batchnorm"), line(2, (1000, 50))]
    groups = summary("s", found, 3)["groups"]
    assert [g["form"] for g in groups] == ["all", "folded", "batchnorm"]
    kind = groups[0]["backdoored"]
    assert groups[0]["asr_after"]["mean"] == pytest.approx(0.05) and (kind["victims"], kind["cells"]) == (2, 3)


def test_nothing_done() -> None:
    assert summary("s", [], 4)["groups"] == []


def test_verdicts_false_accusations_and_deceit(line: Make) -> None:
    left = {"success": 0.05, "told": True}
    found = [
        line(1, (1000, 500), left=left), line(2, (1000, 10), left=left, label_right=False), line(3, (990, 990), verdict="inconclusive"),
        line(4, None), line(5, None, verdict="backdoored"), line(6, None, verdict="inconclusive"),
    ]  # fmt: skip
    group = summary("s", found, 6)["groups"][0]
    hits = {key: (group[key]["hits"], group[key]["cells"]) for key in group if isinstance(group[key], dict) and "hits" in group[key]}
    assert hits["deceived"] == (1, 2) and hits["label_wrong"] == (1, 2) and hits["clean_named_backdoored"] == (1, 3)
    assert hits["inconclusive_backdoored"] == (1, 3) == hits["inconclusive_clean"]
    assert group["clean"]["verdicts"] == {"backdoored": 1, "clean": 1, "inconclusive": 1}
    text = files("s", found, 6)["summary.md"].decode()
    assert "| deceived | 1 of 2: 50.00 [1.26, 98.74] |" in text and "| verdicts, backdoored | backdoored 2, inconclusive 1 |" in text


def test_a_method_without_verdicts(line: Make) -> None:
    group = summary("s", [line(1, (1000, 10), verdict=None), line(2, None, verdict=None)], 2)["groups"][0]
    assert group["named_backdoored"] is group["inconclusive_clean"] is None and group["backdoored"]["verdicts"]["none"] == 1
