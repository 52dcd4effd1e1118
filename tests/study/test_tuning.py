"""Tuning: the adaptive step goes where its formula says, statistics are held, a seed gives the same tensors."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.optim import SGD

from rnpc.stage import Stage
from rnpc.study.case import Case
from rnpc.study.tunable import Tunable
from rnpc.study.tuning import Epoch, Schedule, Step, course_panel, epoch_of, held, judge, plain, sharpness_aware, tune

SCHEDULE = Schedule(epochs=2, rate=0.01, batch=16)


def test_the_adaptive_step_follows_its_formula(case: Case) -> None:
    tunable = Tunable.of(case)
    parameters = tunable.parameters()
    start = [p.detach().clone() for p in parameters]
    gradients = [torch.randn(p.shape, generator=torch.Generator().manual_seed(k)) for k, p in enumerate(parameters)]
    seen: list[list[Tensor]] = []

    def gradient() -> tuple[float, float]:
        seen.append([p.detach().clone() for p in parameters])
        for p, g in zip(parameters, gradients, strict=True):
            p.grad = g.clone()
        return 1.0, 0.5

    assert sharpness_aware(2.0)(tunable, gradient, SGD(parameters, lr=0.1)) == (1.0, 0.5)
    norm = torch.cat([(w * g).flatten() for w, g in zip(start, gradients, strict=True)]).norm()
    for first, top, w, g, p in zip(*seen, start, gradients, parameters, strict=True):
        assert torch.equal(first, w) and torch.allclose(top, w + 2.0 * w**2 * g / norm, atol=1e-5)
        assert torch.allclose(p, w - 0.1 * g, atol=1e-6)


def test_a_gradient_of_zero_moves_nothing(case: Case) -> None:
    tunable = Tunable.of(case)
    before = [p.detach().clone() for p in tunable.parameters()]

    def gradient() -> tuple[float, float]:
        for p in tunable.parameters():
            p.grad = torch.zeros_like(p)
        return 0.0, 1.0

    sharpness_aware(2.0)(tunable, gradient, SGD(tunable.parameters(), lr=0.1))
    assert all(torch.equal(p, w) for p, w in zip(tunable.parameters(), before, strict=True))


def test_statistics_are_as_before_the_second_look(case: Case) -> None:
    tunable = Tunable.of(case)
    before = [buffer.clone() for buffer in tunable.twin.buffers()]
    tunable.twin.train()
    with torch.no_grad(), held(tunable.twin):
        tunable.subject(case).logits(case.learn.pixels())
        assert not all(torch.equal(a, b) for a, b in zip(tunable.twin.buffers(), before, strict=True))
    assert before and all(torch.equal(a, b) for a, b in zip(tunable.twin.buffers(), before, strict=True))


@pytest.mark.parametrize("step", [plain, sharpness_aware(2.0)])
def test_a_seed_gives_the_same_tensors(case: Case, step: Step) -> None:
    found = []
    for _ in range(2):
        tunable = Tunable.of(case)
        tune(case, tunable, SCHEDULE, step)
        found.append(tunable.tensors())
    assert found[0].keys() == found[1].keys() and all(np.array_equal(found[0][name], found[1][name]) for name in found[0])


def test_the_course_and_the_stages_are_told(case: Case) -> None:
    told: list[tuple[Stage, float | None]] = []
    course = tune(replace(case, tell=lambda stage, share, _: told.append((stage, share))), Tunable.of(case), SCHEDULE)
    assert told == [(Stage.REPAIR, 0.0), (Stage.REPAIR, 0.5)]
    assert len(course) == 2 and all(0 <= epoch.accuracy <= 1 and epoch.loss >= 0 for epoch in course)
    assert course_panel(course).lines[0].y.tolist() == [epoch.accuracy for epoch in course]


def test_batches_are_whole_and_of_different_images(case: Case) -> None:
    batches = list(epoch_of(case, replace(SCHEDULE, batch=20), torch.Generator().manual_seed(0)))
    assert {len(labels) for _, labels in batches} == {20} and len(batches) == len(case.learn) // 20
    assert len(list(epoch_of(case, replace(SCHEDULE, batch=4000), torch.Generator().manual_seed(0)))) == 1


def test_it_ends_where_the_loss_is_no_number(case: Case) -> None:
    course = tune(case, Tunable.of(case), Schedule(epochs=50, rate=1e30, batch=16))
    assert len(course) < 50 and not np.isfinite(course[-1].loss)


def test_judging_pairs_the_tuned_with_the_original(case: Case) -> None:
    tunable = Tunable.of(case)
    same = judge(case, tunable)
    assert same.before == same.after == 1.0 and same.drop == 0 and 0 < same.bound < 0.05
    with torch.no_grad():
        tunable.twin.parameter_of("v").zero_()
    assert judge(case, tunable).drop > 0.5


def test_an_empty_course_can_be_shown() -> None:
    assert len(course_panel([]).lines[0].x) == 0 and Epoch(0.0, 1.0).accuracy == 1.0
