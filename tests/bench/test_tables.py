"""From lines to tables: right numbers, and the same bytes each time."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rnpc.bench import outputs
from rnpc.bench.hardening import NEXT, Hardened
from rnpc.bench.judging import label_right
from rnpc.bench.measure import Answer
from rnpc.bench.oracle import choose
from rnpc.bench.run import Result
from rnpc.bench.spec import Cell
from rnpc.bench.tables.numbers import bootstrap, paired
from rnpc.bench.tables.summary import summary
from rnpc.bench.tables.table import named, row, table
from rnpc.victims.spec import VictimSpec

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
    assert groups[0]["asr_after"]["mean"] == pytest.approx(0.05) and groups[0]["backdoored"] == {"victims": 2, "cells": 3}


def test_nothing_done() -> None:
    assert summary("s", [], 4)["groups"] == []


def test_intervals() -> None:
    import numpy as np

    assert bootstrap(np.array([0.5])) == [0.5, 0.5]
    low, high = paired(20, 5, 1000)
    assert low < 0.015 < high and paired(0, 0, 10) == (0.0, 0.0)


def test_failed_row(line: Make) -> None:
    failed = {k: v for k, v in line(1, (1000, 10)).items() if k in ("number", "victim", "form", "images", "seed", "method")}
    text = table("s", [{**failed, "status": "failed", "error": "a | b"}], 2)
    assert "0 done, 1 failed, 1 not run" in text and "failed: a / b" in text


def test_row_width(line: Make) -> None:
    heads = next(text for text in table("s", [], 0).split("\n") if text.startswith("| #"))
    assert all(len(row(each)) == heads.count(" | ") + 1 for each in (line(1, (1000, 10)), line(2, None), line(3, (1, 1), verdict=None)))


def test_the_right_label() -> None:
    def accused(*labels: int) -> Hardened:
        return Hardened("backdoored", tuple((label, 0.5) for label in labels), 1, 10, 0.1, None, (), {})

    assert label_right(3, accused(3, 1)) is True and label_right(3, accused(1, 3)) is False and label_right(3, accused()) is False
    assert label_right("next", accused(NEXT)) is True and label_right("next", accused(4)) is False
    assert label_right(None, accused(3)) is None and named(NEXT) == "next" and named(3) == "3"


def test_choice_of_oracle() -> None:
    def point(count: int, ca: int, asr: int) -> tuple[int, Answer]:
        return count, Answer((ca, 1000), (asr, 1000), "CPU", "")

    assert choose([point(0, 970, 1000), point(2, 960, 300), point(4, 951, 100), point(8, 949, 0)]) == 4
    assert choose([point(0, 970, 1000), point(2, 900, 0)]) == 0
    assert choose([point(0, 970, 9), point(2, 970, 9)]) == 0


def test_same_bytes(line: Make, tmp_path: Path) -> None:
    found = [line(1, (1000, 10)), line(2, None)]
    for folder in ("a", "b"):
        outputs.write(tmp_path / folder, "s", [result(each) for each in found])
    names = sorted(p.name for p in (tmp_path / "a").iterdir())
    assert names == ["asr.png", "attacks.md", "ca_drop.png", "results.jsonl", "summary.json", "summary.md", "table.md"]
    assert all((tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes() for name in names)
    outputs.write(tmp_path / "a", "s", [Result(result(found[0]).cell, None)])
    assert not (tmp_path / "a" / "asr.png").exists()


def result(each: dict[str, Any]) -> Result:
    """The line as a result of its cell."""
    victim = VictimSpec.from_document({**each["victim"], "target": each["target"]})
    return Result(Cell(each["number"], victim, each["form"], each["images"], each["seed"], each["method"]), each)
