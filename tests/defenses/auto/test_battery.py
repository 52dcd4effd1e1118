"""The battery: the worst of fresh triggers and of probes that worked before, and what counts as natural."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from rnpc.defenses.auto import battery
from rnpc.defenses.auto.battery import Suspect, generated, hardest, natural, working
from rnpc.study.case import Case
from rnpc.study.forms import Change
from rnpc.study.inversion import NEXT, Aim, Effort, Inverted, invert, success
from rnpc.study.probes import Probe
from rnpc.study.subject import Split
from rnpc.study.surgery import Channel, edits_of

BUDGETS = {"additive": 1.0, "patch": 6.0}
OTHER = {"additive": 0, "patch": 2}
SUSPECT = Suspect(1, (), BUDGETS, OTHER)
CUT = [Channel("features", c, 1.0, 0.0) for c in (36, 37)]


@pytest.fixture(autouse=True)
def brief(monkeypatch: pytest.MonkeyPatch) -> None:
    """These networks need less effort."""
    monkeypatch.setattr(battery, "EFFORT", Effort(40, 16))


def black() -> Probe:
    """Paints the image black, which speaks for no label."""
    return Probe("black", Change(torch.zeros(1, 1, 8, 8), torch.zeros(1, 3, 8, 8)))


def checkers() -> Probe:
    """The planted trigger."""
    board = (torch.arange(8)[:, None] + torch.arange(8)) % 2 * 0.5 - 0.25
    return Probe("checkers", Change(torch.ones(1, 1, 8, 8), board.expand(1, 3, 8, 8)))


def test_the_planted_backdoor_answers_in_full_and_not_once_it_is_cut(case: Case) -> None:
    before = hardest(case, SUSPECT, {}, case.judge, [])
    after = hardest(case, SUSPECT, edits_of(case.subject, CUT), case.judge, [])
    assert before.success > 0.95 and after.success < 0.2 and len(before.triggers) == len(BUDGETS) * len(battery.STARTS)
    assert before.worst.startswith("a fresh ") and all(t.cost <= BUDGETS[t.form] * 1.0001 for t in before.triggers)


def test_the_strongest_come_first_and_the_worst_one_counts(case: Case) -> None:
    found = hardest(case, SUSPECT, edits_of(case.subject, CUT[:1]), case.judge, [])
    reached = [success(case.subject, trigger, case.judge, edits_of(case.subject, CUT[:1])) for trigger in found.triggers]
    assert reached == sorted(reached, reverse=True) and found.success == reached[0]


def test_a_probe_that_still_works_is_the_worst(case: Case) -> None:
    weak = replace(SUSPECT, budgets={"additive": 1e-3})
    found = hardest(case, weak, {}, case.judge, [black(), checkers()])
    assert found.worst == "checkers" and found.success == battery.probed(case, 1, checkers(), case.judge, {}) > 0.9
    assert all(trigger.form == "additive" for trigger in found.triggers)  # a probe teaches the repair as a probe


def test_the_class_that_is_moved_most_is_named() -> None:
    labels = torch.tensor([0] * battery.CLASS + [2] * battery.CLASS + [3])
    weak, strong = labels == 3, (labels == 2) | (labels == 3)  # a class of one image says nothing
    assert battery.narrowest([(labels, weak), (labels, strong)]) == (2, 1.0)
    assert battery.narrowest([(labels[-1:], strong[-1:])]) is None and battery.narrowest([]) is None


def test_what_moves_one_class_only_shows_there(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    def reached(subject: object, trigger: object, data: Split, edits: object) -> tuple[torch.Tensor, torch.Tensor]:
        labels = data.labels[data.labels != SUSPECT.label]
        return labels, labels == 2

    monkeypatch.setattr(battery, "reached", reached)
    found = hardest(case, SUSPECT.within(()), {}, case.judge, [checkers()])
    assert found.success < 0.6 and found.narrow == (2, 1.0)


def test_with_nothing_to_try_nothing_is_left(case: Case) -> None:
    found = hardest(case, SUSPECT.within(()), {}, case.judge, [])
    assert (found.success, found.worst, found.triggers, found.narrow) == (0.0, "nothing", (), None)


def test_other_starts_make_other_triggers(case: Case) -> None:
    first, same, other = (hardest(case, SUSPECT.within(["patch"]), {}, case.choose, [], seed) for seed in (0, 0, 31))
    shifts = [found.triggers[0].change.shift for found in (first, same, other)]
    assert torch.equal(shifts[0], shifts[1]) and not torch.equal(shifts[0], shifts[2])


def test_only_probes_that_worked_in_the_original_count(case: Case, clean_case: Case) -> None:
    known = tuple(invert(case, Aim(1, form, 0), Effort()) for form in BUDGETS)
    found = working(case, replace(SUSPECT, known=known))
    assert {"found additive", "found patch"} <= {probe.name for probe in found}
    some = case.learn
    assert all(battery.probed(case, 1, probe, some, {}) >= battery.WORKED for probe in found)
    sister = {probe.name for probe in working(clean_case, replace(SUSPECT, known=known))}
    assert not sister & {"found additive", "found patch"} and len(sister) < len(found)


def test_probes_for_all_to_all_are_asked_for_the_label_after(cyclic_case: Case) -> None:
    known = (invert(cyclic_case, Aim(NEXT, "additive", 0), Effort()),)
    found = working(cyclic_case, Suspect(NEXT, known, {"additive": 1.0}))
    assert "found additive" in {probe.name for probe in found}


def test_the_natural_level_is_what_another_label_reaches(case: Case) -> None:
    found = natural(case, SUSPECT)
    assert set(found) == set(BUDGETS) and all(0 <= level < 0.2 for level in found.values())
    rich = natural(case, replace(SUSPECT, budgets={"additive": 30.0, "patch": 60.0}))
    assert min(rich.values()) > battery.HIGH  # a budget that buys any label
    assert natural(case, replace(SUSPECT, other={"patch": 2}))["additive"] == 0.0


def test_generators_see_the_planted_backdoor_until_it_is_cut(case: Case) -> None:
    before, level = generated(case, case, SUSPECT, {})
    after, same = generated(case, case, SUSPECT, edits_of(case.subject, CUT))
    assert before > 0.9 and after < 0.3 and level == same < 0.3


def test_a_trigger_for_another_label_does_not_count(case: Case) -> None:
    """`natural` inverts for the other label, and counts its images."""
    seen: list[int] = []

    def fresh(case: Case, suspect: Suspect, form: str, seed: int, edits: object) -> Inverted:
        seen.append(suspect.label)
        return Inverted(suspect.label, form, 1.0, checkers().change)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(battery, "fresh", fresh)
        assert natural(case, SUSPECT) == {"additive": 0.0, "patch": 0.0}
    assert sorted(seen) == [0, 2]


def test_closer_costs_lie_between_the_labels_own_and_the_budget() -> None:
    known = (Inverted(1, "additive", 0.25, black().change), Inverted(1, "patch", 4.0, black().change))
    found = Suspect(1, known, {"additive": 1.0, "patch": 9.0, "warp": 0.5}, OTHER).closer()
    assert found.budgets == {"additive": 0.5, "patch": 6.0, "warp": 0.5} and found.known == known and found.other == OTHER


def test_more_members_of_a_family_of_noise_are_asked_for_where_one_works(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(battery, "probed", lambda case, label, probe, *_: float(probe.name == "blend of 20% noise"))
    plain, more = (working(case, SUSPECT, members) for members in (False, True))
    assert [probe.another for probe in plain] == [False] and [probe.another for probe in more] == [False] + [True] * 4
    assert len({float(probe.change.shift.sum()) for probe in more}) == 5
    monkeypatch.setattr(battery, "probed", lambda case, label, probe, *_: float(probe.name == "blend of 20% noise" and not probe.another))
    assert len(working(case, SUSPECT, True)) == 1  # those that do not work in the original are none


def test_louder_triggers_are_tried_where_the_label_is_cheap_in_that_form(case: Case) -> None:
    known = tuple(invert(case, Aim(1, form, 0), Effort()) for form in BUDGETS)
    suspect = replace(SUSPECT, known=known, budgets={"additive": 1.2 * known[0].cost, "patch": 6.0})
    found = battery.amplified(case, suspect)
    assert [probe.name[-17:] for probe in found] == ["2 times as strong", "4 times as strong"] and all(probe.louder for probe in found)
    assert torch.allclose(found[1].change.shift, 4 * known[0].change.shift)
    unheard = battery.unheard(case, suspect)
    assert len(unheard) == 1 and not torch.allclose(unheard[0].change.shift, found[1].change.shift)  # no repair is shown it
    assert battery.amplified(case, suspect.within(["patch"])) == battery.unheard(case, suspect.within(["patch"])) == []
    assert battery.amplified(case, replace(suspect, label=NEXT)) == battery.unheard(case, replace(suspect, label=NEXT)) == []
    dear = replace(suspect, budgets={"additive": 1.1 * known[0].cost})
    assert battery.amplified(case, dear) == battery.unheard(case, dear) == []
