"""Constants that are learnt give the cut model its answers back, and leave everything else alone."""

from __future__ import annotations

import torch
from torch.nn import functional as F

from rnpc.defenses.auto.constants import settle
from rnpc.study.activations import clean_moments
from rnpc.study.case import Case
from rnpc.study.inversion import Aim, Effort, invert, success
from rnpc.study.surgery import Channel, edits_of

SITE, TARGET = "features", 1


def apart(case: Case, channels: list[Channel]) -> float:
    """KL from the original's answers on the learn images."""
    pixels = case.learn.pixels()
    with torch.no_grad():
        before, after = (F.log_softmax(case.subject.logits(pixels, edits), 1) for edits in (None, edits_of(case.subject, channels)))
    return float(F.kl_div(after, before, log_target=True, reduction="batchmean"))


def wrong(case: Case) -> list[Channel]:
    """Four channels that pass a colour on, cut to constants that are far off."""
    means, _ = clean_moments(case.subject, case.learn)
    return [Channel(SITE, c, 1.0, float(means[SITE][c]) + 0.5) for c in (0, 3, 6, 9)]


def test_the_answers_come_nearer(case: Case) -> None:
    _, deviations = clean_moments(case.subject, case.learn)
    settled = settle(case, wrong(case), deviations, (), doubt=None, weight=0.0, steps=40)
    assert apart(case, settled) < 0.7 * apart(case, wrong(case))
    assert [(c.site, c.index, c.score) for c in settled] == [(c.site, c.index, c.score) for c in wrong(case)]


def test_the_same_seed_gives_the_same_constants(case: Case) -> None:
    _, deviations = clean_moments(case.subject, case.learn)
    first, second = (settle(case, wrong(case), deviations, (), doubt=None, weight=0.0, steps=5) for _ in range(2))
    assert first == second


def test_triggers_lose_their_force_where_they_weigh(case: Case) -> None:
    means, deviations = clean_moments(case.subject, case.learn)
    trigger = invert(case, Aim(TARGET, "additive", 0), Effort(batch=20))
    half = [Channel(SITE, c, 1.0, float(means[SITE][c])) for c in (36, 0, 1, 2)]  # one of the two planted ones stays
    plain, weighed = (settle(case, half, deviations, [trigger], doubt=None, weight=w, steps=60) for w in (0.0, 1.0))
    left = [success(case.subject, trigger, case.judge, edits_of(case.subject, channels)) for channels in (plain, weighed)]
    assert left[0] > 0.5 and left[1] < left[0] - 0.2
    assert all(p.grad is None for p in case.subject.twin.parameters())
