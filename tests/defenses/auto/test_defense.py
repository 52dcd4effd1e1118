"""The whole method on the planted network and on its clean sister."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from rnpc.defenses.auto import Auto, battery, candidates, cut, defense, repair
from rnpc.defenses.auto.battery import Found, Suspect
from rnpc.defenses.auto.candidates import Candidate, Ways
from rnpc.defenses.auto.repair import Repaired
from rnpc.defenses.base import Nothing, Outcome, Silence, Weights
from rnpc.detectors.base import Detection
from rnpc.detectors.triggers import Triggers
from rnpc.detectors.witnesses import CUT, Witnesses
from rnpc.errors import InputRefused
from rnpc.pipeline.finding import conclude
from rnpc.report.words import HIGH, LOW
from rnpc.stage import Stage
from rnpc.stats import drop_bound
from rnpc.study import distil, teacher
from rnpc.study.case import Case
from rnpc.study.forms import Change
from rnpc.study.inversion import Effort
from rnpc.study.probes import Probe
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
    monkeypatch.setattr(repair, "COURSES", (40,))
    monkeypatch.setattr(repair, "LASTING", 20)
    monkeypatch.setattr(teacher, "COPIES", 1)


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
    assert (found.numbers["drop"], found.numbers["drop_bound"]) == (drop, bound) and bound <= found.numbers["drop_limit"] == case.max_drop
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
    assert (
        isinstance(found, Nothing)
        and "for label 1 keeps clean accuracy within the budget of 2.0%: the gentlest loses 0.0% of 126 images" in found.why
    )
    assert len(found.ranking) == 40 and found.panels and found.label == 1
    assert found.numbers["drop"] == 0.0 and found.numbers["drop_bound"] > found.numbers["drop_limit"] == 0.02


def test_where_no_cut_helps_the_model_itself_is_repaired(case: Case, seen_by_triggers: Seen, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cut, "choose", lambda *_: None)
    monkeypatch.setattr(battery, "working", lambda *_: [])
    monkeypatch.setattr(repair, "COURSES", (300, 150))
    found = Auto().defend(case, seen_by_triggers(case))
    assert isinstance(found, Weights) and found.channels == () and found.threshold is None and found.tensors
    assert found.left.before == 1.0 and found.left.success is not None and found.left.success < 0.5
    assert found.numbers["drop_bound"] <= case.max_drop


def test_a_repair_that_takes_nothing_away_is_not_made(case: Case, seen_by_triggers: Seen, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cut, "choose", lambda *_: None)
    monkeypatch.setattr(battery, "working", lambda *_: [])
    monkeypatch.setattr(distil, "RATES", (1e-9,))
    assert isinstance(Auto().defend(case, seen_by_triggers(case)), Nothing)


def test_without_repair_nothing_is_retrained(case: Case, seen_by_triggers: Seen, monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_: object) -> None:
        raise AssertionError("retrained")

    monkeypatch.setattr(candidates, "repair", never)
    monkeypatch.setattr(cut, "choose", lambda *_: None)
    found = Auto(repair=False).defend(case, seen_by_triggers(case))
    assert isinstance(found, Nothing) and "no cut for label 1 takes most" in found.why and found.confirmed is False


def test_a_model_that_cannot_be_tuned_is_pruned_alone(case: Case, seen_by_triggers: Seen, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[object] = []

    def refuse(*parts: object) -> None:
        asked.append(parts)
        raise InputRefused("shared weights", where="tuning", todo="none")

    monkeypatch.setattr(battery, "working", lambda *_: [])
    monkeypatch.setattr(candidates, "HARMLESS", -1.0)  # whatever the cut costs is too much
    monkeypatch.setattr(candidates, "repair", refuse)
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
        ({"additive": 0.9, "patch": 0.8, "drawn": 0.1}, {"drawn"}, 0.1),  # what differs from image to image may tell
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
    monkeypatch.setattr(battery, "working", lambda *_: [])
    monkeypatch.setattr(battery, "hardest", hardest)
    found = Auto(repair=False).defend(case, seen_by_triggers(case))
    assert asked and all(each == forms for each in asked)
    assert isinstance(found, Silence) and found.left.natural == plain and found.left.told is bool(forms)


def test_plain_patches_that_accuse_tell_where_no_form_can(case: Case, seen_by_triggers: Seen, monkeypatch: pytest.MonkeyPatch) -> None:
    """Triggers of other labels reach as far as this one's, other labels' plain patches do not."""
    monkeypatch.setattr(battery, "natural", lambda case, suspect: dict.fromkeys(suspect.budgets, 1.0))
    found = Auto(repair=False).defend(case, replace(seen_by_triggers(case), rival=0.1))
    assert isinstance(found, Silence) and found.left.natural == 0.1 and found.left.told
    assert found.left.before == 1.0 and found.left.success is not None and found.left.success < 0.4
    untold = Auto(repair=False).defend(case, seen_by_triggers(case))
    assert isinstance(untold, Silence) and not untold.left.told and untold.left.natural == 0.0


def ways(case: Case, suspect: Suspect) -> Ways:
    """Of a search that is not looked at."""
    return Ways(cut.Goal(case, {}, {}, 1, {}, {}), cut.Search({}, {}), suspect, ())


@pytest.mark.parametrize(("drawn", "level", "said"), [(0.9, 0.5, 0.9), (0.9, 0.8, 0.2), (0.45, 0.4, 0.2), (0.15, 0.0, 0.2)])
def test_generators_have_a_word_in_what_is_left(
    case: Case, monkeypatch: pytest.MonkeyPatch, drawn: float, level: float, said: float
) -> None:
    suspect = Suspect(1, (), {"additive": 1.0}, {"additive": 0})
    monkeypatch.setattr(battery, "hardest", lambda *_, **__: Found(0.2, "a patch", ()))
    monkeypatch.setattr(battery, "generated", lambda *_: (drawn, level))
    whole = candidates.Candidate((Channel("features", 36, 1.0, 0.0),), None, Found(0.2, "a patch", ()))
    found, natural = defense.judged(ways(case, suspect), whole, 0.1)
    assert found.success == said and (found.worst == defense.DRAWN) == (said == 0.9) and natural == (level if said == 0.9 else 0.1)
    for other in (replace(suspect, other={}), suspect.by_image()):  # nobody to compare with; asked already
        assert defense.judged(ways(case, other), whole, 0.1)[0].success == 0.2


def test_triggers_that_no_repair_was_shown_judge_what_was_taken(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    monkeypatch.setattr(battery, "hardest", lambda *args, **_: asked.extend(probe.name for probe in args[4]) or Found(0.2, "a patch", ()))
    monkeypatch.setattr(battery, "generated", lambda *_: (0.0, 0.0))
    shown, unheard = (Probe(name, Change(torch.ones(1, 1, 8, 8), torch.zeros(1, 3, 8, 8)), louder=True) for name in ("shown", "unheard"))
    whole = candidates.Candidate((Channel("features", 36, 1.0, 0.0),), None, Found(0.2, "a patch", ()))
    defense.judged(replace(ways(case, Suspect(1, (), {}, {"additive": 0})), worked=(shown,), unheard=(unheard,)), whole, 0.1)
    assert asked == ["shown", "unheard"]


def test_a_cut_is_enough_where_the_report_would_call_it_removed() -> None:
    assert (defense.SMALL, defense.NATURAL_MOST) == (LOW, HIGH)


def test_it_says_whether_what_was_taken_was_made_to_last() -> None:
    mended = Repaired(SimpleNamespace(), Found(0.0, "", ()), 1)  # type: ignore[arg-type]
    plain, last = (Candidate((), mended, mended.left, final=final) for final in (False, True))
    assert defense.durable(replace(last, repaired=None), [replace(last, repaired=None)]) == ()
    assert "was made to last" in defense.durable(last, [plain, last])[0]
    assert "was not taken" in defense.durable(plain, [plain, last])[0] and defense.durable(plain, [plain]) == ()
