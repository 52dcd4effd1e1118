"""Silencing is exact, scores are finite, and the ranking finds a planted channel."""

from __future__ import annotations

import pytest
import torch

from rnpc.defenses.auto.rank import attributions, importance, rank
from rnpc.study.activations import clean_moments, margins
from rnpc.study.case import Case
from rnpc.study.forms import PIXELS
from rnpc.study.inversion import Aim, Effort, Inverted, invert
from rnpc.study.surgery import Channel, edits_of

SITE, PLANTED, TARGET = "features", {36, 37}, 1


@pytest.fixture
def triggers(case: Case) -> list[Inverted]:
    """Both forms for the planted label."""
    return [invert(case, Aim(TARGET, form, 0), Effort()) for form in PIXELS]


def test_silenced_channels_are_exactly_their_constants(case: Case) -> None:
    cut = [Channel(SITE, 3, 1.0, 0.1), Channel(SITE, 37, 0.5, -2.5)]
    _, before = case.subject.values(case.judge.pixels(), [SITE])
    _, after = case.subject.values(case.judge.pixels(), [SITE], edits_of(case.subject, cut))
    for channel in cut:
        assert (after[SITE][:, channel.index] == torch.tensor(channel.value)).all()
    others = [c for c in range(40) if c not in (3, 37)]
    assert torch.equal(before[SITE][:, others], after[SITE][:, others])


def test_the_constant_is_the_clean_mean(case: Case) -> None:
    _, kept = case.subject.values(case.learn.pixels(), [SITE])
    means, deviations = clean_moments(case.subject, case.learn)
    assert means[SITE].float() == pytest.approx(kept[SITE].mean((0, 2, 3)), abs=1e-5)
    assert deviations[SITE].float() == pytest.approx(kept[SITE].transpose(0, 1).flatten(1).std(1, correction=0), abs=1e-4)


def test_scores_are_finite(case: Case, triggers: list[Inverted]) -> None:
    means, _ = clean_moments(case.subject, case.learn)
    cost = importance(case.subject, case.learn, means, {})[SITE]
    assert torch.isfinite(cost).all() and (cost >= 0).all() and (cost[38:] == 0).all() and (cost[:36] > 0).all()
    for way in attributions(case.subject, case.learn, triggers, {}):
        assert torch.isfinite(way[SITE]).all()


def test_the_planted_channels_come_first(case: Case, triggers: list[Inverted]) -> None:
    order = rank(case, triggers, clean_moments(case.subject, case.learn)[0])
    assert {channel.index for channel in order[:2]} == PLANTED
    assert sorted(channel.index for channel in order) == list(range(40))
    assert [c.score for c in order] == sorted((c.score for c in order), reverse=True)


def test_taken_channels_do_not_come_again(case: Case, triggers: list[Inverted]) -> None:
    means, _ = clean_moments(case.subject, case.learn)
    first = rank(case, triggers, means)[:2]
    rest = rank(case, triggers, means, taken=first)
    assert len(rest) == 38 and not PLANTED & {channel.index for channel in rest}


def test_margins() -> None:
    scores = torch.tensor([[3.0, 1.0, 2.0], [0.0, 5.0, 1.0]])
    assert margins(scores, torch.tensor([0, 2])).tolist() == [1.0, -4.0]
