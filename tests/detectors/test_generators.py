"""Generators: a label that answers to small changes drawn for each image is accused, one that does not is not."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from rnpc.detectors import generators
from rnpc.detectors.generators import BLUNT, Generator, Generators, Search, labels_of
from rnpc.panel import Table
from rnpc.study.case import Case


def test_a_change_has_the_budget_and_stays_in_the_range() -> None:
    torch.manual_seed(0)
    net, pixels = Generator(3, 0.05), torch.full((4, 3, 9, 8), 0.5)
    pixels += 0.1 * torch.rand(pixels.shape)
    size = (net(pixels) - pixels).square().mean((1, 2, 3)).sqrt()
    assert torch.allclose(size, torch.full((4,), 0.05), atol=1e-5)
    assert Generator(1, 0.9)(torch.rand(2, 1, 7, 7)).min() >= 0 and Generator(1, 0.9)(torch.rand(2, 1, 7, 7)).max() <= 1


def test_the_planted_label_is_accused(case: Case, clean_case: Case) -> None:
    found = Generators().detect(case)
    assert found.verdict == "backdoored" and found.suspects[0].label == 1 and found.numbers["success"] > 0.8
    table = found.panels[0]
    assert isinstance(table, Table) and len(table.rows) == 3 and table.accused == (0,) and "label 1" in found.reasons[0]
    assert Generators().detect(clean_case).verdict == "clean"
    assert Generators().detect(case) == found  # a seed decides


@pytest.mark.parametrize(
    ("found", "verdict"),
    [
        ({4: 0.9, 1: 0.1, 2: 0.0}, "backdoored"),
        ({1: 0.1, 4: 0.9, 2: 0.0}, "backdoored"),  # in whichever order the race left them
        ({4: 0.42, 1: 0.27, 2: 0.0}, "clean"),  # a rival answers too
        ({4: 0.45, 1: 0.44, 2: 0.0}, "inconclusive"),  # the model answers to anything
        ({4: 0.9, 1: 0.45, 2: 0.0}, "inconclusive"),  # too near to acquit
        ({4: 0.41, 1: 0.24, 2: 0.0}, "inconclusive"),  # DFST 612 was called clean
        ({4: 0.25, 1: 0.0, 2: 0.0}, "clean"),
        ({4: float("nan"), 1: float("nan")}, "inconclusive"),
        ({4: 0.9}, "inconclusive"),  # nobody to compare with
    ],
)
def test_the_rule(case: Case, monkeypatch: pytest.MonkeyPatch, found: dict[int, float], verdict: str) -> None:
    monkeypatch.setattr(Generators, "race", lambda detector, case: found)
    said = Generators().detect(case)
    assert said.verdict == verdict and (not said.suspects or said.suspects[0].label == 4)
    assert (BLUNT in said.reasons) == (found.get(1) == 0.44) and (not said.suspects or BLUNT not in said.reasons)


def test_the_best_go_on(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    gone: list[tuple[int, int]] = []

    def go(search: Search, steps: int, batch: int) -> float:
        gone.append((search.label, steps))
        return float(3 - search.label)

    monkeypatch.setattr(generators, "ROUNDS", ((64, 5, 8), (2, 6, 8), (1, 7, 8)))
    monkeypatch.setattr(Search, "go", go)
    assert list(Generators().race(case)) == [2]
    assert sorted(gone) == [(0, 5), (1, 5), (1, 6), (2, 5), (2, 6), (2, 7)]
    monkeypatch.setattr(Search, "go", lambda *_: float("nan"))
    assert np.isnan(list(Generators().race(case).values())).all()


def test_of_many_labels_those_that_are_near_are_looked_at(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    assert labels_of(case) == [0, 1, 2]
    many = replace(case, subject=replace(case.subject, classes=70))
    monkeypatch.setattr(generators, "shift_norms", lambda case: -np.arange(70.0))
    assert labels_of(many) == list(range(69, -1, -1))
