"""The verdict by triggers on the planted network and on its clean sister."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import onnx
import pytest
from onnx import numpy_helper

from rnpc.detectors.triggers import Triggers, detector, race, shifts
from rnpc.detectors.triggers.rules import AGAIN, Accusation
from rnpc.errors import InputRefused
from rnpc.frontends import onnx_file
from rnpc.panel import Images, Table
from rnpc.study.case import Case
from rnpc.study.inversion import NEXT, Inverted
from rnpc.study.subject import prepare


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
    two = cyclic_case.choose.take(cyclic_case.choose.labels < 2)
    assert not detector.cyclic(replace(cyclic_case, choose=two))
    assert not detector.cyclic(replace(cyclic_case, subject=replace(cyclic_case.subject, classes=2)))


@pytest.mark.parametrize(("strength", "verdict"), [(100.0, "backdoored"), (0.0, "clean")])
def test_two_classes_are_told_by_each_other(case_of: Callable[..., Case], strength: float, verdict: str) -> None:
    found = Triggers("quick").detect(without_the_third(case_of(strength)))
    assert found.verdict == verdict and NEXT not in {trigger.label for trigger in found.triggers}
    assert [suspect.label for suspect in found.accused] == ([1] if verdict == "backdoored" else [])


def without_the_third(case: Case) -> Case:
    """The network and the images of its first two classes."""
    model = onnx.ModelProto.FromString(case.subject.original.SerializeToString())
    for tensor in model.graph.initializer:
        if tensor.name in ("v", "u"):
            tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor)[:2], tensor.name))
    model.graph.output[0].type.tensor_type.shape.dim[1].dim_value = 2
    subject = prepare(onnx_file.program("two", model.SerializeToString()), case.subject.pre, "cpu").exact()
    learn, choose, judge = (part.take(part.labels < 2) for part in (case.learn, case.choose, case.judge))
    return replace(case, subject=subject, learn=learn, choose=choose, judge=judge)


def test_where_nothing_works_the_run_is_inconclusive(clean_case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(detector, "success", lambda *_: 0.0)
    found = Triggers("quick").detect(clean_case)
    assert found.verdict == "inconclusive" and detector.NOTHING_WORKED in found.reasons


def test_a_model_without_a_linear_head_is_refused(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shifts, "find_head", lambda model: None)
    with pytest.raises(InputRefused, match="no linear layer"):
        Triggers().detect(case)


def test_labels_that_are_close_get_fresh_starts(clean_case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = list[list[int]]()
    genuine = race.again

    def again(ran: race.Race, labels: list[int], pace: race.Pace) -> dict[tuple[int, str], Inverted]:
        calls.append(labels)
        return genuine(ran, labels, pace)

    monkeypatch.setattr(detector, "close", lambda accusation, limits: limits == AGAIN)
    monkeypatch.setattr(race, "again", again)
    found = Triggers("standard").detect(clean_case)
    assert len(calls) == 1 and sorted(calls[0]) == [0, 1, 2] and not found.doubt and found.verdict == "clean"
    Triggers("quick").detect(clean_case)  # has none to give
    assert len(calls) == 1


def test_the_same_seed_sees_the_same(case: Case) -> None:
    first, second = (Triggers("quick").detect(case) for _ in range(2))
    assert first.numbers == second.numbers and first.reached == second.reached and first.suspects == second.suspects


def test_doubt_is_passed_on(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(detector, "doubtful", lambda accusation: True)
    monkeypatch.setattr(Accusation, "verdict", "inconclusive")
    assert Triggers("quick").detect(case).doubt
