"""Strained copies: who is accused when they go to one label."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from rnpc.detectors import strained
from rnpc.detectors.strained import LEAST_CLASSES, Strained
from rnpc.panel import Table
from rnpc.study.case import Case
from rnpc.study.inversion import NEXT
from rnpc.study.teacher import Copies

EVEN = [0.01] * 6


@pytest.fixture
def six(case: Case) -> Case:
    """A case of six labels, whose network is not asked."""
    assert case.classes < LEAST_CLASSES
    return replace(case, subject=SimpleNamespace(**{**vars(case.subject), "classes": 6}))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("direct", "behind", "verdict", "label", "shares"),
    [
        ([0.01, 0.01, 0.09, 0.01, 0.01, 0.01], EVEN, "backdoored", 2, (0.09, 0.01)),
        ([0.01, 0.01, 0.09, 0.04, 0.01, 0.01], EVEN, "clean", 2, (0.09, 0.04)),  # others are lost, too
        ([0.01, 0.01, 0.04, 0.00, 0.00, 0.00], EVEN, "clean", 2, (0.04, 0.01)),  # too few
        ([0.02] * 6, [0.0, 0.12, 0.01, 0.01, 0.0, 0.0], "backdoored", NEXT, (0.12, 0.01)),
    ],
)
def test_the_rule(
    six: Case,
    monkeypatch: pytest.MonkeyPatch,
    direct: list[float],
    behind: list[float],
    verdict: str,
    label: int,
    shares: tuple[float, float],
) -> None:
    monkeypatch.setattr(strained, "asked", lambda case: Copies(case.seen, torch.zeros(1, 6), torch.zeros(1, 6)))
    monkeypatch.setattr(strained, "astray", lambda found, label: torch.tensor(behind if label == NEXT else direct))
    found = Strained().detect(six)
    assert found.verdict == verdict and found.suspects[0].label == label
    assert (found.numbers["share"], found.numbers["share_second"]) == pytest.approx(shares)
    (table,) = found.panels
    assert isinstance(table, Table) and table.accused == ((0,) if verdict == "backdoored" else ()) and table.rows[0][0] == label


def test_of_a_few_labels_they_say_nothing(case: Case) -> None:
    found = Strained().detect(case)
    assert found.verdict == "inconclusive" and found.suspects == () and "fewer than 5 labels" in found.reasons[0]


def test_scores_that_are_no_numbers_acquit_nobody(six: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(strained, "asked", lambda case: Copies(case.seen, torch.full((1, 6), torch.nan), torch.zeros(1, 6)))
    found = Strained().detect(six)
    assert found.verdict == "inconclusive" and found.suspects == () and "no numbers" in found.reasons[0]
