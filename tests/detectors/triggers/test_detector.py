"""The verdict by triggers on the planted network and on its clean sister."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from rnpc.detectors.triggers import Triggers, candidates, detector
from rnpc.detectors.triggers.rules import Accusation
from rnpc.errors import InputRefused
from rnpc.panel import Images, Table
from rnpc.study.case import Case
from rnpc.study.inversion import NEXT, Aim, invert


def test_the_planted_label_is_accused(case: Case) -> None:
    found = Triggers().detect(case)
    assert found.verdict == "backdoored" and [suspect.label for suspect in found.accused] == [1]
    assert len(found.reached) == len(found.triggers) and found.numbers["rule_pixels"] < 0.45
    pictures, classes = found.panels[:2]
    assert isinstance(pictures, Images) and len(pictures.pictures) == len(found.triggers)
    assert isinstance(classes, Table) and len(classes.rows) == 3 and [classes.rows[place][0] for place in classes.accused] == [1]


def test_the_clean_network_is_acquitted(clean_case: Case) -> None:
    found = Triggers().detect(clean_case)
    assert found.verdict == "clean" and found.accused == () and len(found.suspects) == 1


def test_an_all_to_all_backdoor_is_accused(cyclic_case: Case) -> None:
    found = Triggers().detect(cyclic_case)
    assert found.verdict == "backdoored" and [suspect.label for suspect in found.accused] == [NEXT]
    assert "to the label after their own" in found.reasons[0] and found.numbers["rule_next"] < 0.25
    assert [trigger.label for trigger in found.triggers[-2:]] == [NEXT, NEXT]


def test_with_two_classes_the_label_after_its_own_says_nothing(cyclic_case: Case) -> None:
    assert detector.cyclic(cyclic_case)
    two = cyclic_case.judge.take(cyclic_case.judge.labels < 2)
    assert not detector.cyclic(replace(cyclic_case, judge=two))
    assert not detector.cyclic(replace(cyclic_case, subject=replace(cyclic_case.subject, classes=2)))


def test_where_nothing_works_the_run_is_inconclusive(clean_case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(detector, "success", lambda *_: 0.0)
    found = Triggers().detect(clean_case)
    assert found.verdict == "inconclusive" and detector.NOTHING_WORKED in found.reasons


def test_a_model_without_a_linear_head_is_refused(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(candidates, "find_head", lambda model: None)
    with pytest.raises(InputRefused, match="no linear layer"):
        Triggers().detect(case)


def test_a_first_look_finds_a_label_that_the_norms_put_last(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(candidates, "CANDIDATES", 2)
    assert candidates.candidates(case, np.array([1.0, 3.0, 2.0])) == [0, 1]


def test_a_second_start_keeps_the_cheaper_trigger(case: Case) -> None:
    first = [invert(case, Aim(1, form, 0), detector.BRIEF) for form in ("additive", "patch", "warp")]
    second = detector.again(case, first)
    assert second[2] is first[2] and all(after.cost <= before.cost or not before.held for before, after in zip(first, second, strict=True))


def test_doubt_is_passed_on(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(detector, "close", lambda accusation, limits: True)
    monkeypatch.setattr(Accusation, "verdict", "inconclusive")
    assert Triggers().detect(case).doubt
