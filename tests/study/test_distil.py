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


LABEL = 1


def lesson(asked: torch.Tensor, shown: torch.Tensor, *networks: Tunable, plain: torch.Tensor | None = None) -> distil.Lesson:
    """What is to be answered to `shown` as the original answers `asked`, which are made images unless it is `plain` what it says."""
    uniform = torch.full((len(asked), 3), 1 / 3).log()  # any label is possible
    return distil.Lesson(distil.Batch(asked, uniform if plain is None else plain, plain is None), shown, networks, LABEL)


def course(case: Case, steps: int, seed: int, origin: Tunable | None = None) -> distil.Course:
    """Dark patches."""
    return distil.Course([dark(case)], steps, seed, LABEL, origin)


def test_the_loss_is_what_two_divergences_come_to(case: Case) -> None:
    tunable, pixels = Tunable.of(case), case.learn.pixels(slice(16))
    black = torch.zeros_like(pixels)
    assert distil.descend(case, [lesson(pixels, pixels, tunable)] * 2)[0] == pytest.approx(0.0, abs=1e-4)
    apart, gradients = distil.descend(case, [lesson(pixels, pixels, tunable), lesson(pixels, black, tunable)])
    with torch.no_grad():
        one, two = (torch.log_softmax(case.subject.logits(x).float(), 1) for x in (pixels, black))
    assert apart == pytest.approx(float((one.exp() * (one - two)).sum(1).mean()), rel=1e-2, abs=1e-3)
    assert [g.shape for g in gradients] == [p.shape for p in tunable.parameters()] and any(bool(g.abs().sum() > 0) for g in gradients)
    told, same = distil.descend(case, [lesson(pixels, pixels, tunable), lesson(black, black, tunable, plain=one)])
    assert told == pytest.approx(float((one.exp() * (one - two)).sum(1).mean()), rel=1e-2, abs=1e-3)
    assert all(torch.allclose(a, b, atol=1e-4) for a, b in zip(gradients, same, strict=True))


def test_made_images_that_go_to_the_suspected_label_are_what_they_were_made_of(case: Case) -> None:
    tunable, pixels = Tunable.of(case), case.learn.pixels(slice(16))
    with torch.no_grad():
        said = torch.log_softmax(case.subject.logits(pixels).float(), 1)
    sure = torch.full((16, 3), 0.02)
    sure[:, 0] = 0.96  # nothing of label 1 in what they were made of
    loss, _ = distil.descend(case, [distil.Lesson(distil.Batch(pixels, sure.log(), made=True), pixels, [tunable], LABEL)])
    doubted = said.argmax(1) == LABEL
    assert 0 < int(doubted.sum()) < 16
    want = (sure * (sure.log() - said)).sum(1)[doubted].sum() / 16
    assert loss == pytest.approx(float(want), rel=2e-2)


def test_gradients_of_all_networks_add_up_and_the_loss_is_the_first_one_s(case: Case) -> None:
    tunable, other, pixels = Tunable.of(case), Tunable.of(case), case.learn.pixels(slice(8))
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.mul_(1.1)
    black = torch.zeros_like(pixels)
    (one, first), (_, second), (both, total) = (
        distil.descend(case, [lesson(pixels, black, *some)]) for some in ([tunable], [other], [tunable, other])
    )
    assert both == one and all(torch.equal(c, a + b) for a, b, c in zip(first, second, total, strict=True))


def test_what_was_asked_before_is_what_would_be_answered(case: Case) -> None:
    known, draw = distil.Known.of(case, case.learn), torch.Generator().manual_seed(0)
    drawn = known.draw(case, draw)
    assert not drawn.made and len(drawn.pixels) == distil.BATCH
    assert torch.allclose(torch.log_softmax(case.subject.logits(drawn.pixels).float(), 1), drawn.plain, atol=1e-2)


@pytest.mark.parametrize("adam", [False, True])
def test_a_seed_trains_the_same_and_tells_how_far_it_is(case: Case, adam: bool) -> None:
    told: list[tuple[Stage, float | None]] = []
    told_case = replace(case, tell=lambda stage, share, _: told.append((stage, share)))
    made = [Tunable.of(case) for _ in range(2)]
    assert all(distil.distil(told_case, each, course(case, 20, 1), adam) for each in made)
    first, second = (each.tensors() for each in made)
    assert first.keys() == second.keys() and all(np.array_equal(first[k], second[k]) for k in first)
    assert told[:2] == [(Stage.REPAIR, 0.0), (Stage.REPAIR, 0.8)] and first


def test_two_threads_train_what_one_does(case: Case) -> None:
    made, origin = [Tunable.of(case) for _ in range(2)], Tunable.of(case)
    for threads, each in enumerate(made, 1):
        torch.set_num_threads(threads)
        try:
            assert distil.distil(case, each, course(case, 6, 1, origin))
        finally:
            torch.set_num_threads(1)
    assert all(torch.equal(a, b) for a, b in zip(*(each.parameters() for each in made), strict=True))


def test_weights_between_two_networks(case: Case) -> None:
    made, start, end = (Tunable.of(case) for _ in range(3))
    with torch.no_grad():
        for parameter in start.parameters():
            parameter.add_(1.0)
    distil.put_between(made, start, end, 0.75)
    gaps = [(p - o).detach() for p, o in zip(made.parameters(), end.parameters(), strict=True)]
    assert all(torch.allclose(gap, torch.tensor(0.25), atol=1e-5) for gap in gaps)


def test_a_rate_that_is_too_large_is_followed_by_a_lower_one(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    made = [Tunable.of(case) for _ in range(3)]
    for each, rates, works in zip(made, [(1e30, 0.001), (0.001,), (1e30, 1e6)], [True, True, False], strict=True):
        monkeypatch.setattr(distil, "RATES", rates)
        assert distil.distil(case, each, course(case, 24, 0)) is works
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
