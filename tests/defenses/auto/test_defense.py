"""The whole method on the planted network and on its clean sister."""

from __future__ import annotations

from dataclasses import replace

import pytest

from rnpc.defenses.auto import Auto
from rnpc.defenses.auto.cut import Judged, Search
from rnpc.defenses.auto.defense import UNTOLD, WEAKENED, after_words, left_of
from rnpc.defenses.base import Nothing, Silence
from rnpc.detectors.triggers import Triggers
from rnpc.stage import Stage
from rnpc.study.case import Case


def test_the_planted_backdoor_is_cut(case: Case) -> None:
    stages: list[Stage] = []
    told = replace(case, tell=lambda stage, *_: stages.append(stage))
    found = Auto().defend(told, Triggers().detect(told))
    assert isinstance(found, Silence) and found.label == 1 and found.confirmed
    assert {channel.index for channel in found.channels[:2]} == {36, 37} and len(found.channels) <= 20
    assert found.threshold is not None and found.ranking[: len(found.channels)] == found.channels
    assert {Stage.LABELS, Stage.INVERT, Stage.RANK, Stage.AGAIN} <= set(stages)
    assert found.left.told and found.left.success is not None and found.left.before is not None and found.left.success < found.left.before
    assert found.numbers["strongest_additive_after"] < found.numbers["strongest_additive_before"]
    assert "after it (natural:" in found.reasons[0] and len(found.panels) == 3


def test_an_all_to_all_backdoor_is_cut(cyclic_case: Case) -> None:
    found = Auto().defend(cyclic_case, Triggers().detect(cyclic_case))
    assert isinstance(found, Silence) and len(found.channels) >= 2 and {channel.index for channel in found.channels} <= {36, 37, 38}


def test_where_no_cut_is_allowed_nothing_is_done(case: Case) -> None:
    tight = replace(case, max_drop=0.001)
    found = Auto().defend(tight, Triggers().detect(tight))
    assert isinstance(found, Nothing) and "label 1" in found.why and found.confirmed is False


def test_the_same_seed_decides_the_same(case: Case) -> None:
    first, second = (Auto().defend(case, Triggers().detect(case)) for _ in range(2))
    assert isinstance(first, Silence) and isinstance(second, Silence)
    assert first.channels == second.channels and first.ranking == second.ranking and first.numbers == second.numbers


def judged(channels: int, success: float) -> Judged:
    """A cut after which the strongest additive trigger reaches that share."""
    return Judged(channels, 0.5, 0.9, 0.8, 0.95, 0.0, 0.01, {"additive": success})


@pytest.mark.parametrize(
    ("before", "after", "words", "told"), [(1.0, 0.5, WEAKENED, True), (1.0, 0.2, "", True), (0.1, 0.1, UNTOLD, False)]
)
def test_reasons_say_what_is_left(before: float, after: float, words: str, told: bool) -> None:
    search = Search({"additive": 1.0}, {"additive": 0.2}, cuts=[judged(0, before), judged(8, after)], chosen=1)
    assert words in after_words(search)[-1] and (bool(words) or len(after_words(search)) == 1)
    left = left_of(search)
    assert (left.success, left.before, left.natural, left.told) == (after, before, 0.2, told)
