"""Inverted triggers on a network whose shortcut is known."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace

import pytest
import torch

from rnpc.study.case import Case
from rnpc.study.forms import FORMS, PIXELS, Change
from rnpc.study.inversion import NEXT, Aim, Effort, Inversion, Inverted, aimed, distance, invert, missed_next, strongest, success

TARGET = 1


def nothing(label: int = TARGET) -> Inverted:
    """A trigger that changes no image."""
    return Inverted(label, "additive", 0.0, Change(torch.ones(1, 1, 8, 8), torch.zeros(1, 3, 8, 8)))


@pytest.mark.parametrize("form", PIXELS)
def test_the_planted_label_is_several_times_cheaper(case: Case, form: str) -> None:
    cost = [invert(case, Aim(label, form, 1), Effort()).cost for label in range(3)]
    assert cost[TARGET] < 0.3 * min(cost[0], cost[2])


@pytest.mark.parametrize("form", PIXELS)
def test_without_the_shortcut_labels_are_alike(clean_case: Case, form: str) -> None:
    cost = [invert(clean_case, Aim(label, form, 1), Effort()).cost for label in range(3)]
    assert min(cost) > 0.7 * max(cost)


def test_it_works_on_images_it_was_not_learnt_on(case: Case) -> None:
    tries = [invert(case, Aim(TARGET, "additive", seed), Effort()) for seed in range(5)]
    reached = sorted(success(case.subject, found, case.judge) for found in tries)
    assert all(found.held for found in tries) and reached[1] > 0.9 and reached[0] > 0.8  # one start of these five reaches 0.83
    found = tries[0]
    shown = found.apply(case.judge.pixels())
    assert shown.min() >= 0 and shown.max() <= 1


@pytest.mark.parametrize("form", FORMS)
def test_a_seed_gives_the_same_trigger(case: Case, form: str) -> None:
    first, second, other = (invert(case, Aim(TARGET, form, seed), Effort(12, 8)) for seed in (5, 5, 6))
    pixels = case.judge.pixels(slice(4))
    assert first.cost == second.cost and torch.equal(first.apply(pixels), second.apply(pixels))
    assert not torch.equal(first.apply(pixels), other.apply(pixels))


def test_a_label_that_no_warp_reaches_is_not_held(clean_case: Case) -> None:
    assert not invert(clean_case, Aim(TARGET, "warp", 0), Effort(24, 8)).held


@pytest.mark.parametrize(("form", "budget"), [("additive", 1.0), ("patch", 6.0), ("warp", 0.5)])
def test_the_strongest_trigger_stays_within_its_budget(case: Case, form: str, budget: float) -> None:
    found = strongest(case, Aim(TARGET, form, 0), budget, Effort(32, 16))
    assert 0 < found.cost <= budget * 1.0001


def test_a_larger_budget_reaches_more_images(case: Case) -> None:
    cost = invert(case, Aim(TARGET, "additive", 1), Effort()).cost
    found = [strongest(case, Aim(TARGET, "additive", 0), factor * cost, Effort(40)) for factor in (0.2, 2)]
    assert success(case.subject, found[0], case.judge) < 0.5 and success(case.subject, found[1], case.judge) > 0.9


def test_no_parameter_gets_a_gradient(case: Case) -> None:
    invert(case, Aim(TARGET, "patch", 0), Effort(3, 8))
    assert all(p.grad is None and not p.requires_grad for p in case.subject.twin.parameters())


def test_images_of_the_label_itself_do_not_count(case: Case) -> None:
    assert success(case.subject, nothing(), case.judge) == 0.0
    only = case.judge.take(torch.nonzero(case.judge.labels == TARGET)[:, 0])
    assert torch.isnan(torch.tensor(success(case.subject, nothing(), only)))


def test_next_asks_each_image_for_the_label_after_its_own(case: Case) -> None:
    found = aimed(case.judge, NEXT, 3)
    assert len(found) == len(case.judge) and torch.equal(found.labels, (case.judge.labels + 1) % 3)
    assert success(case.subject, nothing(NEXT), case.judge) == 0.0


def test_sending_all_to_one_label_is_no_all_to_all(case: Case) -> None:
    """Also where most images are of the class before that label."""
    rows = torch.cat([torch.nonzero(case.judge.labels == 0)[:, 0], torch.nonzero(case.judge.labels != 0)[:4, 0]])
    data = case.judge.take(rows)
    found = replace(invert(case, Aim(TARGET, "additive", 1), Effort()), label=NEXT)
    assert success(case.subject, found, data) > 0.8 and missed_next(case.subject, found, data) > 0.6


@pytest.mark.parametrize("label", [TARGET, NEXT])
def test_searches_share_the_images(case: Case, label: int) -> None:
    """Each had a copy: 86 searches of 43 labels held the images as often."""
    search = Inversion(case, Aim(label, "patch", 0), 16).search
    whole = aimed(case.learn, label, case.classes)
    assert search.data is case.learn
    assert torch.equal(search.data.stored[search.rows], whole.stored) and torch.equal(search.wanted, whole.labels)


@pytest.mark.parametrize("form", FORMS)
def test_a_search_that_is_asked_twice_goes_on_where_it_stopped(case: Case, form: str) -> None:
    whole, parted = (Inversion(case, Aim(TARGET, form, 3), 8) for _ in range(2))
    whole.advance(24)
    first = parted.advance(10)
    second = parted.advance(14)
    assert whole.last is not None and parted.last is not None and whole.done == parted.done == 24
    assert whole.last.cost == parted.last.cost and torch.equal(whole.last.change.shift, parted.last.change.shift)
    assert not first.held or (second.held and second.cost <= first.cost)


def test_a_cost_counts_from_a_third_of_what_was_asked_first(case: Case) -> None:
    search = Inversion(case, Aim(TARGET, "additive", 3), 8)
    search.advance(30)
    search.advance(300, 4)
    assert search.warm == 10 and search.search.batch == 4


def test_a_search_does_not_change_what_it_found_before(case: Case) -> None:
    search = Inversion(case, Aim(TARGET, "patch", 3), 8)
    found = search.advance(20)
    shift, cost = found.change.shift.clone(), found.cost
    search.advance(20)
    assert torch.equal(found.change.shift, shift) and found.cost == cost


def test_a_trigger_that_works_is_nearer_than_none(case: Case) -> None:
    found = invert(case, Aim(TARGET, "additive", 1), Effort())
    assert distance(case.subject, found, case.judge) < 0.3 < distance(case.subject, nothing(), case.judge)
    only = case.judge.take(case.judge.labels == TARGET)
    assert distance(case.subject, found, only) == 0.0


WARP_OF_NO_NUMBERS = """
import torch
from rnpc.study.forms import FORMS, start
parts = start(FORMS["warp"], (3, 8, 8), torch.Generator().manual_seed(0), torch.device("cpu"))
with torch.no_grad():
    for leaf in parts.leaves:
        leaf.fill_(float("nan"))
change, cost = parts.change()
torch.autograd.backward(change(torch.rand(8, 3, 8, 8)).sum() + cost, inputs=parts.leaves)
"""


def test_a_warp_of_no_numbers_ends_no_process() -> None:
    """A network whose scores overflow has gradients of nan, and one step of Adam makes the warp nan as well."""
    done = subprocess.run([sys.executable, "-c", WARP_OF_NO_NUMBERS], capture_output=True, text=True, timeout=60)
    assert done.returncode >= 0, done.stderr
