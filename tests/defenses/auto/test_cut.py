"""The search removes a planted shortcut and never spends more accuracy than it may."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from rnpc.defenses.auto import cut
from rnpc.defenses.auto.cut import Goal, Judged, Search
from rnpc.study.activations import clean_moments
from rnpc.study.case import Case
from rnpc.study.forms import PIXELS
from rnpc.study.inversion import Aim, Effort, invert, success
from rnpc.study.subject import Split
from rnpc.study.surgery import Channel, edits_of


def goal_for(case: Case, budget: float, label: int = 1) -> Goal:
    """Costs of triggers well above what the planted shortcut takes and well below what other labels do."""
    means, deviations = clean_moments(case.subject, case.learn)
    other = {form: (label + 1) % 3 for form in PIXELS}
    return Goal(replace(case, max_drop=budget), means, deviations, label, {"additive": 1.0, "patch": 8.0}, other)


def run(case: Case, budget: float, label: int = 1) -> Search:
    """A search for a label."""
    return cut.search(goal_for(case, budget, label))


def drop_of(case: Case, found: Search) -> float:
    """The chosen cut's drop on the images that the search sees, measured again."""
    assert found.chosen is not None
    channels, seen = found.made[found.chosen], case.seen
    before, after = (case.subject.predict(seen, edits_of(case.subject, some)) == seen.labels for some in ((), channels))
    return float(before.float().mean() - after.float().mean())


def test_the_planted_channels_are_cut_and_the_trigger_is_gone(case: Case) -> None:
    found = run(case, 0.05)
    assert found.chosen is not None
    channels = found.made[found.chosen]
    assert {36, 37} <= {channel.index for channel in channels}
    additive = invert(case, Aim(1, "additive", 1), Effort())
    assert success(case.subject, additive, case.judge) > 0.9
    assert success(case.subject, additive, case.judge, edits_of(case.subject, channels)) <= 0.3
    assert drop_of(case, found) <= cut.SLACK * 0.05


@pytest.mark.parametrize("label", range(3))
def test_a_cut_spends_no_more_than_its_share_where_every_cut_hurts(clean_case: Case, label: int) -> None:
    found = run(clean_case, 0.03, label)
    assert found.chosen is None or drop_of(clean_case, found) <= cut.SLACK * 0.03


def test_the_search_never_looks_at_the_images_that_judge(case: Case) -> None:
    """Where they are others than those that choose."""
    apart = replace(case, choose=case.judge.take(torch.arange(60)), judge=case.judge.take(torch.arange(60, 126)))
    apart = replace(apart, rows=(case.rows[0], case.rows[2][:60], case.rows[2][60:]))
    lost = replace(apart, judge=Split(torch.zeros_like(apart.judge.stored), torch.zeros_like(apart.judge.labels)))
    first, second = run(apart, 0.05), run(lost, 0.05)
    assert first.cuts == second.cuts and first.made == second.made and first.chosen == second.chosen


def test_judged_cuts_are_sound(case: Case) -> None:
    found = run(case, 0.05)
    assert found.cuts[0].channels == 0 and found.cuts[0].threshold is None and found.cuts[0].drop == 0
    for judged, channels in zip(found.cuts, found.made, strict=True):
        assert judged.channels == len(channels) and judged.low <= judged.accuracy <= judged.high and judged.drop <= judged.bound
        assert set(judged.success) == set(PIXELS) and all(0 <= share <= 1 for share in judged.success.values())
        assert len({(channel.site, channel.index) for channel in channels}) == len(channels)
        assert np.isfinite([channel.value for channel in channels]).all()


def judging(monkeypatch: pytest.MonkeyPatch, drops: list[float]) -> list[tuple[int, float]]:
    """Cuts get these drops, one after the other; the list takes the (channels, weight) that were tried."""
    tried: list[tuple[int, float]] = []

    def settle(case: Case, channels: list[Channel], *_: object, doubt: int | None, weight: float, steps: int) -> list[Channel]:
        tried.append((len(channels), weight))
        return list(channels)

    monkeypatch.setattr(cut, "settle", settle)
    monkeypatch.setattr(cut, "judge", lambda goal, channels, right: judged(len(channels), 1.0, drops[len(tried) - 1]))
    return tried


@pytest.mark.parametrize(
    ("drops", "tries", "channels"),
    [
        ([0.0], [(5, 0.1)], 5),
        ([0.03, 0.0], [(5, 0.1), (5, 0.03)], 5),
        ([0.03, 0.03, 0.03, 0.0], [(5, 0.1), (5, 0.03), (5, 0.0), (3, 0.1)], 3),
        ([0.03] * 6 + [0.0], [*((n, w) for n in (5, 3) for w in (0.1, 0.03, 0.0)), (2, 0.1)], 2),
        ([0.03] * 9, [(n, w) for n in (5, 3, 2) for w in (0.1, 0.03, 0.0)], 5),  # none allowed: all channels, weight 0
    ],
)
def test_triggers_weigh_less_then_fewer_channels_fall(
    case: Case, monkeypatch: pytest.MonkeyPatch, drops: list[float], tries: list[tuple[int, float]], channels: int
) -> None:
    tried = judging(monkeypatch, drops)
    taken, more = ([Channel("features", c, 1.0, 0.0) for c in indices] for indices in ((0,), (1, 2, 3, 4)))
    found, _ = cut.fall(goal_for(case, 0.02), taken, more, [], np.ones(3, bool))
    assert tried == tries and len(found) == channels


def test_a_form_that_reaches_nobody_is_left_out(case: Case) -> None:
    goal = replace(goal_for(case, 0.05), budgets={"additive": 1.0, "warp": 0.3}, other={})
    _, found = cut.begin(goal, np.ones(len(case.judge), bool))
    assert set(found.levels) == set(found.budgets) == set(found.cuts[0].success) == {"additive"}


def test_two_cuts_that_are_not_allowed_end_the_search() -> None:
    found = Search({}, {"additive": 0.2}, cuts=[judged(0, 1.0, drop=0.03), judged(8, 0.9, drop=0.03)])
    assert not cut.beyond(found, 0.02)
    found.cuts.append(judged(16, 0.9, drop=0.03))
    assert cut.beyond(found, 0.02)


def judged(channels: int, success: float, drop: float = 0.0) -> Judged:
    """A cut after which the strongest additive trigger reaches that share."""
    return Judged(channels, 0.5, 0.9, 0.8, 0.95, drop, drop + 0.01, {"additive": success})


@pytest.mark.parametrize(
    ("cuts", "chosen"),
    [
        ([], None),
        ([judged(8, 0.9)], None),  # more than half of what stood above the natural level is left
        ([judged(8, 0.55), judged(16, 0.3)], 2),
        ([judged(8, 0.1), judged(16, 0.05)], 1),  # both natural: the smaller one
        ([judged(8, 0.5), judged(16, 0.1, drop=0.03)], 1),  # the better one costs more than it may
    ],
)
def test_the_cut_to_make(cuts: list[Judged], chosen: int | None) -> None:
    found = Search({"additive": 1.0}, {"additive": 0.2}, cuts=[judged(0, 1.0), *cuts])
    assert cut.choose(found, 0.02) == chosen


@pytest.mark.parametrize(
    ("chosen", "after", "confirmed"),
    [
        (1, {"additive": 0.9, "patch": 0.2}, True),
        (1, {"additive": 0.9, "patch": 0.5}, False),
        (None, {"additive": 0.0, "patch": 0.0}, False),
    ],
)
def test_a_cut_confirms_where_one_form_is_mostly_gone(chosen: int | None, after: dict[str, float], confirmed: bool) -> None:
    cuts = [replace(judged(0, 1.0), success={"additive": 1.0, "patch": 0.9}), replace(judged(8, 1.0), success=after)]
    found = Search({}, {"additive": 0.2, "patch": 0.2}, cuts=cuts, chosen=chosen)
    assert cut.confirms(found) is confirmed
