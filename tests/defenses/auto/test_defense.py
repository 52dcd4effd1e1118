"""The whole method on the planted network and on its clean sister."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from rnpc.defenses.auto import Auto, battery, cut, defense, repair
from rnpc.defenses.auto.battery import Found, Suspect
from rnpc.defenses.auto.cut import Judged, Search
from rnpc.defenses.auto.defense import Candidate, held, smaller
from rnpc.defenses.base import Nothing, Outcome, Silence, Weights
from rnpc.detectors.base import Detection
from rnpc.detectors.triggers import Triggers
from rnpc.detectors.witnesses import CUT, Witnesses
from rnpc.errors import InputRefused
from rnpc.pipeline.finding import conclude
from rnpc.stage import Stage
from rnpc.stats import drop_bound
from rnpc.study.case import Case
from rnpc.study.inversion import Effort
from rnpc.study.surgery import Channel, edits_of

Seen = Callable[[Case], Detection]


@pytest.fixture(autouse=True)
def brief(monkeypatch: pytest.MonkeyPatch) -> None:
    """These networks need less effort."""
    monkeypatch.setattr(battery, "EFFORT", Effort(24, 8))
    monkeypatch.setattr(battery, "STARTS", (0,))
    monkeypatch.setattr(battery, "SHOWN", 24)
    monkeypatch.setattr(cut, "STRONG", Effort(24, 8))
    monkeypatch.setattr(cut, "STEPS", (2,))
    monkeypatch.setattr(repair, "ROUNDS", 1)


@pytest.fixture(scope="module")
def known() -> dict[str, Outcome]:
    """Outcomes that several tests look at."""
    return {}


@pytest.fixture
def pruned(case: Case, seen_by_triggers: Seen, known: dict[str, Outcome]) -> Outcome:
    """The planted network, pruned alone."""
    if not known:
        known["case"] = Auto(repair=False).defend(case, seen_by_triggers(case))
    return known["case"]


def test_the_planted_backdoor_is_cut(case: Case, pruned: Outcome) -> None:
    found = pruned
    assert isinstance(found, Silence) and not isinstance(found, Weights) and found.label == 1 and found.confirmed
    assert {channel.index for channel in found.channels[:2]} == {36, 37} and len(found.channels) <= 20
    assert found.threshold == found.channels[-1].score
    assert [c.index for c in found.ranking[: len(found.channels)]] == [c.index for c in found.channels]
    assert sorted(channel.index for channel in found.ranking) == list(range(40))
    before = case.subject.predict(case.judge) == case.judge.labels
    after = case.subject.predict(case.judge, edits_of(case.subject, found.channels)) == case.judge.labels
    drop, bound = drop_bound(before.numpy(), after.numpy())
    assert (found.numbers["drop"], found.numbers["drop_bound"]) == (drop, bound) and bound <= case.max_drop
    assert found.left.told and found.left.before == 1.0 and found.left.success is not None and found.left.success < 0.4
    assert found.numbers["strongest_additive_after"] < found.numbers["strongest_additive_before"]
    assert "100% of images apart to the label before" in found.reasons[0] and len(found.panels) == 3


def test_an_all_to_all_backdoor_is_cut(cyclic_case: Case, seen_by_triggers: Seen) -> None:
    stages: list[Stage] = []
    told = replace(cyclic_case, tell=lambda stage, *_: stages.append(stage))
    found = Auto(repair=False).defend(told, seen_by_triggers(cyclic_case))
    assert isinstance(found, Silence) and len(found.channels) >= 2 and {channel.index for channel in found.channels} <= {36, 37, 38}
    assert {Stage.STRONGEST, Stage.RANK, Stage.CUT, Stage.AGAIN, Stage.JUDGE} <= set(stages)


def test_the_cut_convicts_what_the_witnesses_suspect(
    case: Case, seen_by_triggers: Seen, pruned: Outcome, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Triggers, "detect", lambda detector, case: seen_by_triggers(case))
    detection = Witnesses("quick").detect(case)
    assert detection.doubt and detection.verdict == "inconclusive" and pruned.confirmed
    final = Witnesses("quick").reconsider(case, detection, pruned.confirmed)
    assert final.verdict == "backdoored" and final.reasons[-1] == CUT
    finding, outcome = conclude(final, pruned, force=False)
    assert finding.verdict == "backdoored" and [label for label, _ in finding.labels] == [1] and outcome is pruned


def test_where_the_bound_cannot_be_held_nothing_is_done(case: Case, seen_by_triggers: Seen) -> None:
    """126 images prove no drop below 2.3 %, however well a cut does."""
    found = Auto(repair=False).defend(replace(case, max_drop=0.02), seen_by_triggers(case))
    assert isinstance(found, Nothing) and found.why == "no cut or repair for label 1 keeps clean accuracy within the budget of 2.0%"
    assert len(found.ranking) == 40 and found.panels and found.label == 1


def test_where_no_cut_helps_the_model_itself_is_repaired(case: Case, seen_by_triggers: Seen, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cut, "choose", lambda *_: None)
    monkeypatch.setattr(repair, "SCHEDULE", replace(repair.SCHEDULE, epochs=30, batch=16))
    found = Auto().defend(case, seen_by_triggers(case))
    assert isinstance(found, Weights) and found.channels == () and found.threshold is None and found.tensors
    assert found.left.before == 1.0 and found.left.success is not None and found.left.success < 0.5
    assert found.numbers["drop_bound"] <= case.max_drop


def test_a_repair_that_takes_nothing_away_is_not_made(case: Case, seen_by_triggers: Seen, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cut, "choose", lambda *_: None)
    monkeypatch.setattr(battery, "working", lambda case, suspect: [])
    monkeypatch.setattr(repair, "SCHEDULE", replace(repair.SCHEDULE, epochs=1, rate=1e-9))
    assert isinstance(Auto().defend(case, seen_by_triggers(case)), Nothing)


def test_without_repair_nothing_is_retrained(case: Case, seen_by_triggers: Seen, monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_: object) -> None:
        raise AssertionError("retrained")

    monkeypatch.setattr(defense, "repair", never)
    monkeypatch.setattr(cut, "choose", lambda *_: None)
    found = Auto(repair=False).defend(case, seen_by_triggers(case))
    assert isinstance(found, Nothing) and "no cut for label 1 within the accuracy budget" in found.why and found.confirmed is False


def test_a_model_that_cannot_be_tuned_is_pruned_alone(case: Case, seen_by_triggers: Seen, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[object] = []

    def refuse(*parts: object) -> None:
        asked.append(parts)
        raise InputRefused("shared weights", where="tuning", todo="none")

    monkeypatch.setattr(battery, "working", lambda case, suspect: [])
    monkeypatch.setattr(defense, "NATURAL_MOST", -1.0)  # whatever is left is too much
    monkeypatch.setattr(defense, "repair", refuse)
    found = Auto().defend(case, seen_by_triggers(case))
    assert asked and isinstance(found, Silence) and not isinstance(found, Weights)


def test_the_same_seed_decides_the_same(case: Case, seen_by_triggers: Seen, pruned: Outcome) -> None:
    again = Auto(repair=False).defend(case, seen_by_triggers(case))
    assert isinstance(pruned, Silence) and isinstance(again, Silence)
    assert pruned.channels == again.channels and pruned.ranking == again.ranking and pruned.numbers == again.numbers


@pytest.mark.parametrize(
    ("levels", "forms", "plain"),
    [
        ({"additive": 0.9, "patch": 0.2}, {"patch"}, 0.2),
        ({"additive": battery.HIGH, "patch": 0.2}, {"additive", "patch"}, battery.HIGH),
        ({"additive": 0.9, "patch": 0.8}, set(), 0.0),
    ],
)
def test_forms_whose_natural_level_is_high_are_left_out(
    case: Case,
    seen_by_triggers: Seen,
    monkeypatch: pytest.MonkeyPatch,
    levels: dict[str, float],
    forms: set[str],
    plain: float,
) -> None:
    asked: list[set[str]] = []
    genuine = battery.hardest

    def hardest(case: Case, suspect: Suspect, *rest: Any, **more: Any) -> Found:
        asked.append(set(suspect.budgets))
        return genuine(case, suspect, *rest, **more)

    monkeypatch.setattr(battery, "natural", lambda case, suspect: {form: levels.get(form, 1.0) for form in suspect.budgets})
    monkeypatch.setattr(battery, "working", lambda case, suspect: [])
    monkeypatch.setattr(battery, "hardest", hardest)
    found = Auto(repair=False).defend(case, seen_by_triggers(case))
    assert asked and all(each == forms for each in asked)
    assert isinstance(found, Silence) and found.left.natural == plain and found.left.told is bool(forms)


CHANNELS = tuple(Channel("features", c, 1.0, 0.0) for c in range(8))


def candidate(channels: int, lost: int, left: float, accuracy: float = 0.9, repaired: bool = False) -> Candidate:
    """One that loses so many of the judged images; `lost` travels in the name of what is left."""
    return Candidate(CHANNELS[:channels], SimpleNamespace() if repaired else None, accuracy, Found(left, str(lost), ()))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("candidates", "taken", "looks"),
    [
        ([], None, 0),
        ([candidate(2, 0, 0.5), candidate(4, 0, 0.1)], 1, 2),
        ([candidate(4, 0, 0.1), candidate(2, 0, 0.5)], 0, 2),  # in whichever order they come
        ([candidate(2, 0, 0.5), candidate(4, 20, 0.3), candidate(6, 0, 0.0)], 0, 2),  # the third is not looked at any more
        ([candidate(2, 20, 0.5), candidate(4, 0, 0.0)], None, 1),
        ([candidate(2, 0, 0.1), candidate(4, 0, 0.1)], 0, 2),  # no better: what changes less
        ([candidate(4, 0, 0.0, 0.99, repaired=True), candidate(4, 20, 0.3)], None, 1),  # the repair comes after its cut
        ([candidate(4, 0, 0.0, repaired=True), candidate(4, 0, 0.3)], 0, 2),
        ([candidate(4, 20, 0.0, 0.8), candidate(4, 0, 0.3, 0.9)], 1, 2),  # of the same channels the more accurate one goes first
    ],
)
def test_of_those_that_hold_the_one_with_the_least_left_is_taken(
    case: Case, monkeypatch: pytest.MonkeyPatch, candidates: list[Candidate], taken: int | None, looks: int
) -> None:
    asked: list[Candidate] = []

    def answers(case: Case, candidate: Candidate, data: object) -> np.ndarray:
        asked.append(candidate)
        right = (case.subject.predict(case.judge) == case.judge.labels).numpy()
        right[: int(candidate.left.worst)] = False
        return right

    monkeypatch.setattr(defense, "answers", answers)
    found, drop, bound = held(case, candidates)
    assert found is (None if taken is None else candidates[taken]) and len(asked) == looks
    assert np.isnan(bound) if found is None else (drop == 0 and bound <= case.max_drop)


def judged(channels: int, success: float) -> Judged:
    """A cut after which the strongest additive trigger reaches that share."""
    return Judged(channels, 0.5, 0.9 - channels / 1000, 0.8, 0.95, 0.0, 0.01, {"additive": success})


def searched() -> Search:
    """Cuts of 0, 1, 2, 4, 8 channels, the last one chosen."""
    cuts = [judged(n, share) for n, share in ((0, 1.0), (1, 0.9), (2, 0.6), (4, 0.4), (8, 0.3))]
    return Search({"additive": 1.0}, {"additive": 0.2}, list(CHANNELS), cuts, [CHANNELS[: each.channels] for each in cuts], 4)


def test_smaller_cuts_took_half_of_the_strength_at_least(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(battery, "hardest", lambda *_, **__: Found(0.7, "a probe", ()))
    suspect = Suspect(1, (), {"additive": 1.0})
    found = smaller(case, searched(), 4, suspect, [])
    assert [len(each.channels) for each in found] == [2, 4] and [each.left.success for each in found] == [0.7, 0.7]
    assert all(each.repaired is None for each in found) and found[0].accuracy > found[1].accuracy
    assert smaller(case, searched(), 1, suspect, []) == []


def test_what_is_left_is_the_batterys_word_for_every_candidate(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else a smaller cut wins because less was tried on it."""
    monkeypatch.setattr(battery, "hardest", lambda *_, **__: Found(0.7, "a probe", ()))
    goal = cut.Goal(case, {}, {"features": np.ones(40)}, 1, {"additive": 1.0}, {})  # type: ignore[dict-item]
    monkeypatch.setattr(defense, "gentle", lambda goal, channels, *_: Candidate(channels, None, 0.9, Found(0.7, "a probe", ())))
    found = Auto(repair=False).candidates(goal, searched(), Suspect(1, (), {"additive": 1.0}), [], 0.05)
    assert {each.left.success for each in found} == {0.7}
