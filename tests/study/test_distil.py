"""A tuned network comes to answer as the original does, triggers or not."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from rnpc.stage import Stage
from rnpc.study import distil
from rnpc.study.case import Case
from rnpc.study.forms import Change
from rnpc.study.tunable import Tunable


def dark(case: Case) -> Change:
    """A patch in the corner."""
    keep = torch.ones(1, 1, *case.learn.shape[1:])
    keep[..., :4, :4] = 0.0
    return Change(keep, torch.zeros(1, *case.learn.shape))


def test_the_loss_is_what_two_divergences_come_to(case: Case) -> None:
    tunable, pixels = Tunable.of(case), case.learn.pixels(slice(16))
    assert distil.descend(case, tunable, (pixels, pixels), (pixels, pixels)) == pytest.approx(0.0, abs=1e-4)
    apart = distil.descend(case, tunable, (pixels, pixels), (pixels, torch.zeros_like(pixels)))
    with torch.no_grad():
        one, two = (torch.log_softmax(case.subject.logits(x).float(), 1) for x in (pixels, torch.zeros_like(pixels)))
    assert apart == pytest.approx(float((one.exp() * (one - two)).sum(1).mean()), rel=1e-2, abs=1e-3)
    assert any(p.grad is not None and bool(p.grad.abs().sum() > 0) for p in tunable.parameters())


@pytest.mark.parametrize("adam", [False, True])
def test_a_seed_trains_the_same_and_tells_how_far_it_is(case: Case, adam: bool) -> None:
    told: list[tuple[Stage, float | None]] = []
    told_case = replace(case, tell=lambda stage, share, _: told.append((stage, share)))
    made = [Tunable.of(case) for _ in range(2)]
    assert all(distil.distil(told_case, each, [dark(case)], 20, 1, adam) for each in made)
    first, second = (each.tensors() for each in made)
    assert first.keys() == second.keys() and all(np.array_equal(first[k], second[k]) for k in first)
    assert told[:2] == [(Stage.REPAIR, 0.0), (Stage.REPAIR, 0.8)] and first


def test_towards_lends_other_weights_and_keeps_gradients(case: Case) -> None:
    tunable, origin = Tunable.of(case), Tunable.of(case)
    with torch.no_grad():
        for parameter in tunable.parameters():
            parameter.add_(1.0)
    own = [parameter.detach().clone() for parameter in tunable.parameters()]
    pixels = case.learn.pixels(slice(8))
    with distil.towards(tunable, origin, 0.75):
        gaps = [(p - o).detach() for p, o in zip(tunable.parameters(), origin.parameters(), strict=True)]
        distil.descend(case, tunable, (pixels, pixels))
    assert all(torch.allclose(gap, torch.tensor(0.25), atol=1e-5) for gap in gaps)
    assert all(torch.equal(p, before) and p.grad is not None for p, before in zip(tunable.parameters(), own, strict=True))


def test_a_rate_that_is_too_large_is_followed_by_a_lower_one(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    made = [Tunable.of(case) for _ in range(3)]
    for each, rates, works in zip(made, [(1e30, 0.001), (0.001,), (1e30, 1e6)], [True, True, False], strict=True):
        monkeypatch.setattr(distil, "RATES", rates)
        assert distil.distil(case, each, [dark(case)], 24, 0) is works
    first, second = (each.tensors() for each in made[:2])
    assert all(np.array_equal(first[name], second[name]) for name in first)
    given = Tunable.of(case).twin.state_dict()
    assert all(torch.equal(value, given[name]) for name, value in made[2].twin.state_dict().items())


@pytest.mark.parametrize(("losses", "works"), [([9.0, 3.0], True), ([0.2, 0.9], True), ([0.2, 1.1], False), ([2.0, math.nan], False)])
def test_a_course_that_ends_worse_than_it_began_did_not_work(losses: list[float], works: bool) -> None:
    assert distil.fine([losses[0]] * 16 + [losses[1]] * 16) is works


def test_each_few_images_get_a_trigger_of_their_own(case: Case) -> None:
    pixels, seen = case.learn.pixels(slice(20)), list[int]()

    def change(k: int) -> Change:
        return lambda x: seen.append(len(x)) or x + k  # type: ignore[return-value, func-returns-value]

    shown = distil.triggered(pixels, [change(0), change(1)], torch.Generator().manual_seed(0))
    moved = (shown - pixels).mean((1, 2, 3)).round().int().tolist()
    assert seen == [8, 8, 4] and len(set(moved[:8])) == len(set(moved[8:16])) == len(set(moved[16:])) == 1
