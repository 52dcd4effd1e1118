"""Channels that clean images would miss stay, whether they are tried alone or together."""

from __future__ import annotations

from itertools import islice

import pytest

from rnpc.defenses.auto import guard
from rnpc.defenses.auto.guard import spared
from rnpc.study.case import Case
from rnpc.study.subject import Split, Subject
from rnpc.study.surgery import Channel

SITE = "features"


def channels(*indices: int) -> list[Channel]:
    """Channels cut to zero."""
    return [Channel(SITE, index, 1.0, 0.0) for index in indices]


@pytest.fixture
def costs(monkeypatch: pytest.MonkeyPatch) -> list[set[int]]:
    """Each channel of a multiple of ten costs 0.02 nats, others nothing; the list takes what was tried."""
    tried: list[set[int]] = []

    def loss(subject: Subject, data: Split, cut: list[Channel]) -> float:
        tried.append({channel.index for channel in cut})
        return 0.02 * sum(channel.index % 10 == 0 for channel in cut)

    monkeypatch.setattr(guard, "clean_loss", loss)
    return tried


def test_dear_channels_are_found_within_their_group(case: Case, costs: list[set[int]]) -> None:
    found = [c.index for c in spared(case.subject, channels(1, 2, 10, 3, 4, 5, 6, 7, 8), [], case.learn)]
    assert found == [1, 2, 3, 4, 5, 6, 7, 8]
    assert len(costs) == 9  # the start, eight together, two halves and their halves down to the dear one, and the last group


def test_a_cheap_group_takes_one_look(case: Case, costs: list[set[int]]) -> None:
    assert len(list(spared(case.subject, channels(*range(1, 9)), [], case.learn))) == 8 and len(costs) == 2


def test_it_gives_up_after_many_refusals_in_a_row(case: Case, costs: list[set[int]], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guard, "PATIENCE", 2)
    assert [c.index for c in spared(case.subject, channels(10, 1, 20, 30, 2), [], case.learn)] == [1]


def test_the_last_channel_of_a_site_never_falls(case: Case, costs: list[set[int]], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guard, "TOLERANCE", 1.0)
    taken = channels(*range(36))
    assert [c.index for c in spared(case.subject, channels(36, 37, 38, 39), taken, case.learn)] == [36, 37, 38]


def test_what_is_not_asked_for_is_not_tried(case: Case, costs: list[set[int]]) -> None:
    assert len(list(islice(spared(case.subject, channels(*range(1, 10), *range(11, 20)), [], case.learn), 8))) == 8
    assert len(costs) == 2
