"""Inverted triggers on a network whose shortcut is known."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from rnpc.method.subject import Subject
from rnpc.method.trigger import FORMS, Effort, Form, Inverted, invert, success

TARGET = 1


@pytest.mark.parametrize("form", FORMS)
def test_the_planted_label_is_several_times_cheaper(subject: Subject, form: Form) -> None:
    cost = [invert(subject, label, form, seed=0, effort=Effort()).cost for label in range(3)]
    assert cost[TARGET] < 0.3 * min(cost[0], cost[2])


@pytest.mark.parametrize("form", FORMS)
def test_without_the_shortcut_labels_are_alike(clean_subject: Subject, form: Form) -> None:
    cost = [invert(clean_subject, label, form, seed=0, effort=Effort()).cost for label in range(3)]
    assert min(cost) > 0.7 * max(cost)


def test_it_works_on_images_it_was_not_learnt_on(subject: Subject) -> None:
    found = invert(subject, TARGET, "additive", seed=0, effort=Effort())
    assert success(subject, found, subject.judge) > 0.9
    shown = found.apply(subject.judge.pixels)
    assert shown.min() >= 0 and shown.max() <= 1


@pytest.mark.parametrize("form", FORMS)
def test_a_seed_gives_the_same_trigger(subject: Subject, form: Form) -> None:
    first, second, other = (invert(subject, TARGET, form, seed=seed, effort=Effort(12, 8)) for seed in (5, 5, 6))
    assert first.cost == second.cost and torch.equal(first.shift, second.shift) and torch.equal(first.keep, second.keep)
    assert not torch.equal(first.shift, other.shift)


def test_no_parameter_gets_a_gradient(subject: Subject) -> None:
    invert(subject, TARGET, "patch", seed=0, effort=Effort(3, 8))
    assert all(p.grad is None and not p.requires_grad for p in subject.twin.parameters())


def test_images_of_the_label_itself_do_not_count(subject: Subject) -> None:
    nothing = Inverted(TARGET, "additive", 0.0, torch.ones(1, 1, 8, 8), torch.zeros(1, 3, 8, 8))
    assert success(subject, nothing, subject.judge) == 0.0
    only = subject.judge.take(torch.nonzero(subject.judge.labels == TARGET)[:, 0])
    assert torch.isnan(torch.tensor(success(replace(subject, judge=only), nothing, only)))
