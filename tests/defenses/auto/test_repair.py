"""Repair takes away what a cut leaves, keeps what clean images need, and ends as soon as it may."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pytest
import torch

from rnpc.defenses.auto import battery, repair
from rnpc.defenses.auto.battery import Found, Suspect
from rnpc.errors import InputRefused
from rnpc.study import distil
from rnpc.study.case import Case
from rnpc.study.inversion import Aim, Effort, Inverted, invert, success
from rnpc.study.probes import Probe, louder
from rnpc.study.surgery import Channel

BUDGETS = {"additive": 1.0, "patch": 6.0}


@pytest.fixture(autouse=True)
def brief(monkeypatch: pytest.MonkeyPatch) -> None:
    """These networks need less effort, and one batch of an epoch is more than they have images for."""
    monkeypatch.setattr(battery, "EFFORT", Effort(40, 16))
    monkeypatch.setattr(battery, "STARTS", (0,))
    monkeypatch.setattr(repair, "COURSES", (60, 30))
    monkeypatch.setattr(repair, "LASTING", 60)
    monkeypatch.setattr(distil, "RATES", (0.002,))


def suspect_in(case: Case) -> tuple[Suspect, Found]:
    """The planted label, and what its triggers reach in the original."""
    known = tuple(invert(case, Aim(1, form, 0), Effort()) for form in BUDGETS)
    suspect = Suspect(1, known, BUDGETS, {})
    return suspect, battery.hardest(case, suspect, {}, case.choose, [])


def test_it_takes_the_backdoor_away_without_any_cut(case: Case) -> None:
    suspect, before = suspect_in(case)
    found = repair.repair(case, repair.Task(suspect, (), [], before, 0.05))
    assert before.success > 0.95 and found.left.success < 0.3
    tuned = found.tunable.subject(case)
    assert (tuned.predict(case.judge, found.tunable.edits) == case.judge.labels).float().mean() > 0.95
    assert all(success(tuned, trigger, case.judge, found.tunable.edits) < 0.3 for trigger in suspect.known)
    assert {"w", "v"} <= set(found.tunable.tensors())
    assert success(case.subject, suspect.known[0], case.judge) > 0.8  # the original is as it was


def test_channels_that_fell_stay_silent(case: Case) -> None:
    suspect, before = suspect_in(case)
    found = repair.repair(case, repair.Task(suspect, (Channel("features", 36, 1.0, 0.25),), [], before, 1.0))
    _, values = found.tunable.subject(case).values(case.judge.pixels(), ["features"], found.tunable.edits)
    assert (values["features"][:, 36] == 0.25).all() and found.courses == 1


@pytest.mark.parametrize(("left", "rounds"), [([0.04, 0.9], 1), ([0.5, 0.05], 2), ([0.5, 0.4], 2)])
def test_it_ends_where_enough_is_gone(case: Case, monkeypatch: pytest.MonkeyPatch, left: list[float], rounds: int) -> None:
    suspect, before = suspect_in(case)
    seeds: list[int] = []

    def hardest(case: Case, suspect: Suspect, edits: Mapping[str, object], data: object, worked: object, seed: int = 0) -> Found:
        seeds.append(seed)
        return replace(before, success=left[len(seeds) - 1])

    monkeypatch.setattr(battery, "hardest", hardest)
    monkeypatch.setattr(repair, "distil", lambda *_: True)
    found = repair.repair(case, repair.Task(suspect, (), [], before, 0.05))
    assert found.courses == rounds and found.left.success == left[rounds - 1] and seeds == [100 * (k + 1) for k in range(rounds)]


def test_a_seed_repairs_the_same(case: Case) -> None:
    suspect, before = suspect_in(case)
    first, second = (repair.repair(case, repair.Task(suspect, (), [], before, 1.0)).tunable.tensors() for _ in range(2))
    assert first.keys() == second.keys() and all(np.array_equal(first[name], second[name]) for name in first)


def test_what_is_made_to_last_frees_the_way_back(case: Case) -> None:
    suspect, before = suspect_in(case)
    task = repair.Task(suspect, (), [], before, 1.0)
    end = repair.repair(case, task)
    last = repair.lasting(case, task, end)
    assert last is not None and last.left.success <= end.left.success + 0.05 and last.courses == end.courses + 1
    halves = [repair.partly(case, task, each, 0.5).left.success for each in (end, last)]
    assert halves[1] < 0.7 * halves[0]
    tuned = last.tunable.subject(case)
    assert (tuned.predict(case.judge, last.tunable.edits) == case.judge.labels).float().mean() > 0.95


def test_what_falls_apart_does_not_last(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    suspect, before = suspect_in(case)
    task = repair.Task(suspect, (), [], before, 1.0)
    end = repair.repair(case, task)
    monkeypatch.setattr(repair, "distil", lambda *_: False)
    assert repair.lasting(case, task, end) is None


def test_a_part_of_the_way_leaves_more_than_all_of_it(case: Case) -> None:
    suspect, before = suspect_in(case)
    task = repair.Task(suspect, (), [], before, 0.05)
    end = repair.repair(case, task)
    near = repair.partly(case, task, end, 0.02)
    assert end.left.success < near.left.success <= before.success
    whole = repair.partly(case, task, end, 1.0).tunable.tensors()
    assert all(np.allclose(whole[name], value, atol=1e-6) for name, value in end.tunable.tensors().items())


def test_the_triggers_found_in_between_join(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    suspect, before = suspect_in(case)
    shown: list[int] = []

    def course(case: Case, tunable: object, course: distil.Course, adam: bool) -> bool:
        shown.append(len(course.changes))
        return True

    extra: tuple[Inverted, ...] = before.triggers
    monkeypatch.setattr(repair, "distil", course)
    monkeypatch.setattr(battery, "hardest", lambda *_, **__: replace(before, success=0.5, triggers=extra))
    repair.repair(case, repair.Task(suspect, (), [], before, 0.05))
    assert shown == [4, 6]  # the two found first and the two known ones, then two more


def test_a_network_that_diverged_is_not_searched(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    """torch's gradient of `grid_sample` reads outside of the image where the places are nan: a segmentation fault."""
    suspect, before = suspect_in(case)
    monkeypatch.setattr(distil, "RATES", (1e6,))

    def hardest(case: Case, *_: object, **__: object) -> Found:
        assert all(bool(torch.isfinite(parameter).all()) for parameter in case.subject.twin.parameters()), "no numbers"
        return before

    monkeypatch.setattr(battery, "hardest", hardest)
    with pytest.raises(InputRefused, match="diverged"):
        repair.repair(case, repair.Task(suspect, (), [], before, 0.05))


def test_louder_triggers_are_shown_only_where_that_is_asked_for(case: Case) -> None:
    suspect, before = suspect_in(case)
    plain, loud = Probe("plain", suspect.known[0].change), louder(suspect.known[0], (4,))[0]
    quiet = repair.Task(suspect, (), [plain, loud], before, 0.05)
    for task, heard in ((quiet, False), (replace(quiet, aloud=True), True)):
        changes = repair.shown(task)
        assert any(change is plain.change for change in changes) and any(change is loud.change for change in changes) is heard
