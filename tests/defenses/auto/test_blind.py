"""The whole method on the planted network and on its clean sister."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from rnpc.defenses.auto import blind
from rnpc.defenses.auto.blind import Request
from rnpc.defenses.auto.cut import Judged, Search
from rnpc.detectors.triggers.verdict import Accusation
from rnpc.errors import InputRefused
from rnpc.study.inversion import NEXT
from rnpc.study.subject import Subject


def test_the_planted_backdoor_is_found_and_cut(request_: Request) -> None:
    stages: list[str] = []
    found = blind.decide(replace(request_, tell=lambda stage, *_: stages.append(stage)))
    assert found.finding.verdict == "backdoored" and [label for label, _ in found.finding.labels] == [1]
    assert {36, 37} <= {channel.index for channel in found.cut}
    assert {channel.index for channel in found.cut[:2]} == {36, 37} and len(found.cut) <= 20
    assert found.threshold is not None and found.ranking[: len(found.cut)] == found.cut
    assert {"labels", "unlearn and invert triggers", "rank channels", "invert again"} <= set(stages)
    assert len(found.judged) + 54 == 180 and len(found.evidence.held_out) == len(found.evidence.triggers)


def test_the_clean_network_is_not_cut(clean_request: Request) -> None:
    found = blind.decide(clean_request)
    assert found.finding.verdict == "clean" and found.cut == () and found.finding.labels == ()


def test_an_all_to_all_backdoor_is_found_and_cut(cyclic_request: Request) -> None:
    found = blind.decide(cyclic_request)
    assert found.finding.verdict == "backdoored" and [label for label, _ in found.finding.labels] == [NEXT]
    assert len(found.cut) >= 2 and {channel.index for channel in found.cut} <= {36, 37, 38}
    assert "to the label after their own" in found.finding.reasons[0] and found.evidence.numbers["rule_next"] < 0.25
    assert [trigger.label for trigger in found.evidence.triggers[-2:]] == [NEXT, NEXT]


def test_force_gives_no_verdict(clean_request: Request) -> None:
    found = blind.decide(replace(clean_request, force=True))
    assert found.finding.verdict is None and len(found.evidence.cuts) > 0


def test_the_same_seed_decides_the_same(request_: Request) -> None:
    first, second = blind.decide(request_), blind.decide(request_)
    assert first.finding == second.finding and first.cut == second.cut and first.ranking == second.ranking
    assert first.evidence.cuts == second.evidence.cuts and np.array_equal(first.judged, second.judged)


def test_a_model_without_a_linear_head_is_refused(request_: Request, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blind, "find_head", lambda model: None)
    with pytest.raises(InputRefused, match="no linear layer"):
        blind.decide(request_)


def test_reasons_say_what_is_left(request_: Request) -> None:
    found = blind.decide(request_)
    numbers = found.evidence.numbers
    assert numbers["strongest_additive_after"] < numbers["strongest_additive_before"] and "after it (natural:" in found.finding.reasons[1]
    search = Search({"additive": 1.0}, {"additive": 0.2}, cuts=[judged(0, 1.0), judged(8, 0.5)])
    assert "may not be gone" in blind.after_words(search, search.cuts[1])[-1]
    assert "may not be gone" not in blind.after_words(search, judged(8, 0.2))[-1]


def test_a_first_look_finds_a_label_that_the_norms_put_last(request_: Request, subject: Subject, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blind, "CANDIDATES", 2)
    assert blind.candidates(subject, np.array([1.0, 3.0, 2.0]), seed=0) == [0, 1]


@pytest.mark.parametrize(("confirmed", "verdict"), [(True, "backdoored"), (False, "inconclusive")])
def test_in_doubt_the_cut_decides(request_: Request, monkeypatch: pytest.MonkeyPatch, confirmed: bool, verdict: str) -> None:
    monkeypatch.setattr(blind, "close", lambda accusation, limits: True)
    monkeypatch.setattr(Accusation, "verdict", "inconclusive")
    monkeypatch.setattr(blind.cut, "confirms", lambda found: confirmed)
    found = blind.decide(request_)
    assert found.finding.verdict == verdict and bool(found.cut) == confirmed and len(found.finding.labels) == 1
    assert "most of that trigger's strength" in found.finding.reasons[1]


def test_a_second_start_keeps_the_cheaper_trigger(request_: Request, subject: Subject) -> None:
    first = [blind.invert(subject, 1, form, seed=0, effort=blind.BRIEF) for form in ("additive", "patch", "warp")]
    second = blind.again(request_, subject, first)
    assert second[2] is first[2] and all(after.cost <= before.cost or not before.held for before, after in zip(first, second, strict=True))


def judged(channels: int, success: float) -> Judged:
    """A cut after which the strongest additive trigger reaches that share."""
    return Judged(channels, 0.5, 0.9, 0.8, 0.95, 0.0, 0.01, {"additive": success})
