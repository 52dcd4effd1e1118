"""Which ways to harden are judged, in which order, and which one is taken."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from rnpc.defenses.auto import battery, candidates, cut
from rnpc.defenses.auto.battery import Found, Suspect
from rnpc.defenses.auto.candidates import Candidate, Ways, gathered, held, in_turn
from rnpc.defenses.auto.cut import Judged, Search
from rnpc.defenses.auto.repair import Repaired, Task
from rnpc.errors import InputRefused
from rnpc.study.case import Case
from rnpc.study.forms import Change
from rnpc.study.probes import Probe
from rnpc.study.subject import Split, Subject
from rnpc.study.surgery import Channel

CHANNELS = tuple(Channel("features", c, 1.0, 0.0) for c in range(8))


def candidate(harm: float, lost: int, left: float) -> Candidate:
    """One that loses so many of the judged images; `lost` travels in the name of what is left."""
    return Candidate(CHANNELS[:4], None, Found(left, str(lost), ()), harm)


@pytest.mark.parametrize(
    ("found", "taken", "looks"),
    [
        ([], None, 0),
        ([candidate(0.01, 0, 0.5), candidate(0.1, 0, 0.1)], 1, 2),
        ([candidate(0.1, 0, 0.1), candidate(0.01, 0, 0.5)], 0, 2),  # in whichever order they come
        ([candidate(0.01, 0, 0.5), candidate(0.1, 20, 0.3), candidate(1.0, 0, 0.0)], 0, 2),  # the third is not looked at any more
        ([candidate(0.01, 20, 0.5), candidate(0.1, 0, 0.0)], None, 1),
        ([candidate(0.1, 0, 0.1), candidate(0.2, 0, 0.08)], 0, 1),  # hardly better
        ([candidate(0.2, 0, 0.3), candidate(0.1, 0, 0.1)], 1, 1),  # more left at more harm
    ],
)
def test_the_last_in_turn_that_holds_is_taken(
    case: Case, monkeypatch: pytest.MonkeyPatch, found: list[Candidate], taken: int | None, looks: int
) -> None:
    asked: list[Candidate] = []

    def answers(case: Case, candidate: Candidate, data: object) -> np.ndarray:
        asked.append(candidate)
        right = (case.subject.predict(case.judge) == case.judge.labels).numpy()
        right[: int(candidate.left.worst)] = False
        return right

    monkeypatch.setattr(candidates, "answers", answers)
    case = replace(case, strict=True)
    best = held(case, found)
    assert best.taken is (None if taken is None else found[taken]) and len(asked) == looks and best.limit == case.max_drop
    if best.taken is not None:
        assert best.drop == 0 and best.bound <= case.max_drop
    else:
        assert best.bound > case.max_drop if found else np.isnan(best.bound)


@pytest.mark.parametrize(
    ("wrong", "strict", "lost", "taken"),
    [
        (0, False, (0, 9), 0),  # what the budget holds is not left for what only the wider one does
        (40, False, (0, 9), 0),
        (40, False, (3, 4), 1),
        (40, False, (3, 5), 0),
        (40, True, (3, 4), None),
        (0, False, (3, 4), None),  # the accuracy is certain
    ],
)
def test_a_weak_model_may_lose_what_its_accuracy_is_uncertain_by(
    case: Case, monkeypatch: pytest.MonkeyPatch, wrong: int, strict: bool, lost: tuple[int, int], taken: int | None
) -> None:
    judge = Split(case.judge.stored[torch.zeros(200, dtype=torch.long)], torch.arange(200))
    case = replace(case, judge=judge, max_drop=0.0235, strict=strict)
    right = np.arange(200) >= wrong

    def answers(case: Case, candidate: Candidate, data: object) -> np.ndarray:
        return np.arange(200) >= wrong + int(candidate.left.worst)

    monkeypatch.setattr(Subject, "predict", lambda subject, data, *_: torch.where(torch.from_numpy(right), data.labels, -1))
    monkeypatch.setattr(candidates, "answers", answers)
    found = [candidate(0.01, lost[0], 0.5), candidate(0.1, lost[1], 0.1)]
    best = held(case, found)
    assert best.taken is (None if taken is None else found[taken])
    assert best.limit == pytest.approx(case.allowed(right) if lost[0] and not strict else case.max_drop)


def test_those_in_turn_get_worse_for_clean_images_and_better_against_triggers() -> None:
    found = in_turn([candidate(h, 0, left) for h, left in ((0.1, 0.1), (0.04, 0.2), (0.03, 0.5), (0.01, 0.6), (0.2, 0.15))])
    assert [(each.harm, each.left.success) for each in found] == [(0.01, 0.6), (0.03, 0.5), (0.04, 0.2), (0.1, 0.1)]


def judged(channels: int, success: float) -> Judged:
    """A cut after which the strongest additive trigger reaches that share."""
    return Judged(channels, 0.5, 0.9 - channels / 1000, 0.8, 0.95, 0.0, 0.01, {"additive": success})


def ways(case: Case, chosen: int | None = 4) -> Ways:
    """Cuts of 0, 1, 2, 4, 8 channels, the last one chosen."""
    cuts = [judged(n, share) for n, share in ((0, 1.0), (1, 0.9), (2, 0.6), (4, 0.4), (8, 0.3))]
    made = [CHANNELS[: each.channels] for each in cuts]
    goal = cut.Goal(case, {}, {"features": np.ones(40)}, 1, {"additive": 1.0}, {})  # type: ignore[dict-item]
    return Ways(
        goal, Search({"additive": 1.0}, {"additive": 0.2}, list(CHANNELS), cuts, made, chosen), Suspect(1, (), {"additive": 1.0}), []
    )


@pytest.fixture(autouse=True)
def told(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What the battery says is left; harm grows with the channels; `starts`: what was repaired, `mended`: what is left after each."""
    known: dict[str, Any] = {"left": 0.45, "starts": [], "mended": [0.3, 0.05], "harm": 0.01, "more": {0.7: 0.9, 0.49: 0.9}}

    def repair(case: Case, task: Task, adam: bool) -> Repaired:
        known["starts"].append(-len(task.channels) if adam else len(task.channels))
        return Repaired(SimpleNamespace(), Found(known["mended"][len(known["starts"]) - 1], "", ()), 1)  # type: ignore[arg-type]

    def weighed(ways: Ways, candidate: Candidate) -> Candidate:
        return Candidate(candidate.channels, candidate.repaired, candidate.left, known["harm"] * len(candidate.channels))

    monkeypatch.setattr(battery, "hardest", lambda *_, **__: Found(known["left"], "a probe", ()))

    def partly(case: Case, task: Task, end: Repaired, part: float) -> Repaired:
        return Repaired(end.tunable, Found(end.left.success + known["more"][part], "", ()), 1)

    def lasting(case: Case, task: Task, end: Repaired) -> Repaired | None:
        return known.get("lasting")

    monkeypatch.setattr(candidates, "repair", repair)
    monkeypatch.setattr(candidates, "partly", partly)
    monkeypatch.setattr(candidates, "lasting", lasting)
    monkeypatch.setattr(Ways, "weighed", weighed)
    monkeypatch.setattr(candidates, "settle", lambda case, channels, *_, **__: channels)
    return known


def test_a_cut_that_harms_nobody_and_leaves_little_needs_no_repair(case: Case, told: dict[str, Any]) -> None:
    told.update(left=0.05, harm=0.003)
    found = gathered(ways(case), 0.1, 0.06, True)
    assert [(len(each.channels), each.final) for each in found] == [(4, False), (8, False), (8, True)] and told["starts"] == []
    assert in_turn(found) == [found[0], found[2]], "it is wanted, and the gentlest stands by"


def test_half_of_such_a_cut_stands_by_only_where_it_takes_half_of_the_strength(
    case: Case, told: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    told.update(harm=0.003)
    monkeypatch.setattr(Ways, "left", lambda ways, channels: Found({4: 0.6}.get(len(channels), 0.05), "", ()))
    found = gathered(ways(case), 0.1, 0.06, True)
    assert [(len(each.channels), each.final) for each in found] == [(8, False), (8, True)]
    assert [len(each.channels) for each in ways(case).beside(replace(found[0], channels=CHANNELS[:1]))] == [1]
    monkeypatch.setattr(Ways, "left", lambda ways, channels: Found(0.6, "", ()))
    assert ways(case).beside(found[0]) == []


def test_a_cut_that_leaves_more_than_is_natural_is_repaired_though_it_ended(case: Case, told: dict[str, Any]) -> None:
    told.update(left=0.08, harm=0.003, mended=[0.02])
    assert [len(each.channels) for each in gathered(ways(case), 0.1, 0.06, True)] == [8, 2]
    assert [len(each.channels) for each in gathered(ways(case), 0.1, 0.06, False)] == [4, 8, 8]


def test_a_cut_that_harms_is_repaired_though_it_leaves_little(case: Case, told: dict[str, Any]) -> None:
    told.update(left=0.05, harm=0.01)
    assert [len(each.channels) for each in gathered(ways(case), 0.1, 0.06, True)] == [8, 2, 8]


def test_repairs_start_in_the_middle_and_end_where_enough_is_gone(case: Case, told: dict[str, Any]) -> None:
    found = gathered(ways(case), 0.1, 0.06, True)
    assert told["starts"] == [2, 8] and [each.left.success for each in found] == [0.45, 0.3, 0.05]
    told.update(starts=[], mended=[0.08])
    assert [each.left.success for each in gathered(ways(case), 0.1, 0.06, True)] == [0.45, 0.08] and told["starts"] == [2]


def test_a_repair_that_leaves_enough_is_made_to_last(case: Case, told: dict[str, Any]) -> None:
    told.update(lasting=Repaired(SimpleNamespace(), Found(0.09, "", ()), 3))  # type: ignore[arg-type]
    assert [each.lasts for each in gathered(ways(case), 0.1, 0.06, True)] == [False, False, False, True]
    told.update(starts=[], mended=[0.3, 0.2])
    assert not any(each.lasts for each in gathered(ways(case), 0.1, 0.06, True))


def test_what_lasts_is_judged_last_unless_it_leaves_clearly_more() -> None:
    gentle, strong = (Candidate((), None, Found(left, "", ()), harm) for left, harm in ((0.3, 0.01), (0.05, 0.03)))
    for left, others in ((0.07, [gentle, strong]), (0.2, [gentle]), (0.2, [])):
        last = Candidate((), None, Found(left, "", ()), 0.02, final=True)
        assert in_turn([last, *others]) == [*others, last]
    assert in_turn([replace(last, left=Found(0.1, "", ())), gentle, strong]) == [gentle, strong]


def test_a_repair_that_harms_is_made_with_other_steps_too(case: Case, told: dict[str, Any]) -> None:
    told.update(harm=0.06, mended=[0.3, 0.08])
    found = gathered(ways(case), 0.1, 0.06, True)
    assert told["starts"] == [2, -2] and [each.left.success for each in found] == [0.45, 0.3, 0.08]


@pytest.mark.parametrize("falls", [False, True])
def test_one_kind_of_steps_that_falls_apart_leaves_the_other(
    case: Case, told: dict[str, Any], monkeypatch: pytest.MonkeyPatch, falls: bool
) -> None:
    """Nothing says that it was not repaired then."""

    def repair(case: Case, task: Task, adam: bool) -> Repaired:
        if adam is falls:
            raise InputRefused("the repair diverged", where="repair", todo="none")
        return Repaired(SimpleNamespace(), Found(0.05, "", ()), 1)  # type: ignore[arg-type]

    told.update(harm=0.06)
    monkeypatch.setattr(candidates, "repair", repair)
    made = ways(case)
    assert [each.left.success for each in gathered(made, 0.1, 0.06, True)] == [0.45, 0.05] and made.refused == []


def test_a_repair_that_takes_less_than_half_away_is_none(case: Case, told: dict[str, Any]) -> None:
    told.update(mended=[0.6, 0.6])
    assert [each.repaired for each in gathered(ways(case, None), 0.1, 0.06, True)] == [] and told["starts"] == [2]


def test_points_of_a_repairs_line_take_part(case: Case, told: dict[str, Any]) -> None:
    """Their harm follows from the end, whatever is measured; not those that leave too much."""
    told.update(mended=[0.05], more={0.7: 0.1, 0.49: 0.6})
    found = gathered(ways(case), 0.1, 0.06, True)
    assert [round(each.left.success, 2) for each in found] == [0.45, 0.05, 0.15] and [round(each.harm, 4) for each in found[1:]] == [
        0.02,
        0.0098,
    ]
    assert [round(each.left.success, 2) for each in in_turn(found)] == [0.15, 0.05]
    told.update(starts=[], more={0.7: 0.1, 0.49: 0.2})
    assert [round(each.harm, 4) for each in gathered(ways(case), 0.1, 0.06, True)[1:]] == [0.02, 0.0098, 0.0048]


def test_a_line_through_worse_networks_has_no_points(case: Case, told: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    told.update(mended=[0.05], more={0.7: 0.1, 0.49: 0.1})
    harms = iter([0.02, 0.02, 0.03, 0.021])
    monkeypatch.setattr(Ways, "weighed", lambda ways, each: replace(each, harm=next(harms)))
    assert [each.left.success for each in gathered(ways(case), 0.1, 0.06, True)] == [0.45, 0.05, 0.05 + 0.1]


@pytest.mark.parametrize(("doubted", "points"), [(1, [0.15, 0.15]), (None, [])])
def test_of_an_original_that_lies_a_line_without_a_cut_has_all_its_points(
    case: Case, told: dict[str, Any], monkeypatch: pytest.MonkeyPatch, doubted: int | None, points: list[float]
) -> None:
    told.update(more={0.7: 0.1, 0.49: 0.1})
    monkeypatch.setattr(Ways, "weighed", lambda ways, each: replace(each, harm=9.0))
    found = ways(case, None)
    found = replace(found, goal=replace(found.goal, doubted=doubted))
    end = Candidate((), Repaired(SimpleNamespace(), Found(0.05, "", ()), 1), Found(0.05, "", ()), 1.0)  # type: ignore[arg-type]
    task = Task(found.suspect, (), [], end.left, 0.1, doubted)
    made = list(found.along(task, end))
    assert [round(each.left.success, 2) for each in made] == points and [round(each.harm, 2) for each in made] == [0.49, 0.24][
        : len(points)
    ]


def test_where_nothing_is_repaired_there_are_gentler_cuts(case: Case, told: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """What is left is the battery's word for every candidate, else a smaller cut wins because less was tried on it."""

    def refused(*_: object) -> Repaired:
        raise InputRefused("shared weights", where="tuning", todo="none")

    monkeypatch.setattr(candidates, "repair", refused)
    for mended in (True, False):
        found = gathered(ways(case), 0.1, 0.06, mended)
        assert [len(each.channels) for each in found] == [8, 2, 4, 8] and {each.left.success for each in found} == {0.45}
    refused = ways(case)
    gathered(refused, 0.1, 0.06, True)
    assert refused.refused == ["it was not repaired: shared weights"]
    assert gathered(ways(case, None), 0.1, 0.06, False) == []


@pytest.mark.parametrize(("chosen", "starts"), [(None, [2]), (1, [1]), (2, [1, 2]), (4, [2, 8])])
def test_where_repairs_start(case: Case, chosen: int | None, starts: list[int]) -> None:
    assert [len(channels) for channels in ways(case, chosen).starts()] == starts


@pytest.mark.parametrize(("chosen", "harm", "starts"), [(None, 0.01, [0]), (4, 0.02, [0]), (4, 0.01, [2, 8])])
def test_where_the_original_lies_repairs_start_from_no_cut_but_a_gentle_one(
    case: Case, told: dict[str, Any], chosen: int | None, harm: float, starts: list[int]
) -> None:
    """Noise runs through all channels."""
    told.update(harm=harm)
    found = ways(case, chosen)
    assert [len(channels) for channels in replace(found, goal=replace(found.goal, doubted=1)).starts()] == starts


@pytest.mark.parametrize("mended", [True, False])
def test_a_cut_that_leaves_most_of_the_strength_is_no_candidate(case: Case, told: dict[str, Any], mended: bool) -> None:
    """One was written so, with 98 % left; nor are gentler ones."""
    told.update(left=0.6, mended=[0.3, 0.05])
    found = gathered(ways(case), 0.1, 0.06, mended)
    assert [round(each.left.success, 2) for each in found] == ([0.3, 0.05] if mended else [])


@pytest.mark.parametrize(
    ("louder", "mended", "aloud"),
    [(True, [0.3, 0.05], [False, True]), (True, [0.05], [False]), (False, [0.3, 0.05], [False, False])],
)
def test_louder_triggers_are_shown_where_a_repair_without_them_leaves_too_much(
    case: Case, told: dict[str, Any], monkeypatch: pytest.MonkeyPatch, louder: bool, mended: list[float], aloud: list[bool]
) -> None:
    told.update(mended=mended)
    asked, plain = list[bool](), candidates.repair

    def repair(case: Case, task: Task, adam: bool) -> Repaired:
        asked.append(task.aloud)
        return plain(case, task, adam)

    monkeypatch.setattr(candidates, "repair", repair)
    probe = Probe("loud", Change(torch.ones(1, 1, 8, 8), torch.zeros(1, 3, 8, 8)), louder=louder)
    made = replace(ways(case), worked=[probe])
    found = gathered(made, 0.1, 0.06, True)
    assert [each.left.success for each in found[1:]] == mended and found[0].repaired is None
    assert asked == aloud and told["starts"] == ([2] * len(mended) if louder else [2, 8])
