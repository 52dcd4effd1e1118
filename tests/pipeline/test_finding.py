"""From detection and outcome to the finding: no cut without a conviction, none of which nothing can be told, no verdict under force."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from rnpc.defenses.auto import Auto
from rnpc.defenses.base import Left, Nothing, Silence, Weights
from rnpc.detectors import calibration
from rnpc.detectors.base import Accused, Detection
from rnpc.detectors.witnesses import Witnesses
from rnpc.pipeline import harden
from rnpc.pipeline.finding import KNOWN, UNTOLD, conclude, unfit
from rnpc.study.case import Case
from rnpc.study.subject import Split
from rnpc.study.surgery import Channel

FOUND = Detection("backdoored", (Accused(3, 12.0, 0.001, 0.6),), ("label 3 is cheap",))
CHANNEL = Channel("features", 1, 2.0, 0.5)
CUT = Silence(channels=(CHANNEL,), ranking=(CHANNEL,), reasons=("one channel fell",), numbers={"rounds": 1.0}, label=3)
TOLD = replace(CUT, confirmed=True, left=Left(0.05, 0.9, 0.1, told=True))


def test_a_conviction_is_carried_out_with_both_reasons() -> None:
    finding, outcome = conclude(FOUND, TOLD, force=False)
    assert finding.verdict == "backdoored" and finding.labels == ((3, 0.6),) and outcome is TOLD
    assert finding.reasons == ("label 3 is cheap", "one channel fell")


@pytest.mark.parametrize("verdict", ["clean", "inconclusive"])
def test_without_a_conviction_nothing_is_done(verdict: str) -> None:
    finding, outcome = conclude(replace(FOUND, verdict=verdict), TOLD, force=False)  # type: ignore[arg-type]
    assert isinstance(outcome, Nothing) and outcome.why == "no label is convicted"
    assert outcome.numbers == TOLD.numbers and outcome.ranking == TOLD.ranking and outcome.label == 3
    assert finding.verdict == verdict and (finding.labels == ()) == (verdict == "clean")


@pytest.mark.parametrize("made", [TOLD, Weights(**vars(TOLD), tensors={"w": np.zeros(2)})], ids=["cut", "repair"])
def test_a_cut_of_which_nothing_can_be_told_is_not_made(made: Silence) -> None:
    finding, outcome = conclude(FOUND, replace(made, left=Left(told=False)), force=False)
    assert isinstance(outcome, Nothing) and outcome.why == UNTOLD and UNTOLD in finding.reasons and finding.verdict == "backdoored"


@pytest.mark.parametrize("verdict", ["backdoored", "clean", "inconclusive"])
def test_under_force_the_outcome_stands_and_the_verdict_is_null(verdict: str) -> None:
    finding, outcome = conclude(replace(FOUND, verdict=verdict), replace(TOLD, left=Left(told=False)), force=True)  # type: ignore[arg-type]
    assert finding.verdict is None and isinstance(outcome, Silence) and finding.labels == ((3, 0.6),)


def test_a_method_without_a_detector_gives_no_verdict() -> None:
    tuned = Weights(channels=(), tensors={"w": np.zeros(2)}, reasons=("tuned",))
    finding, outcome = conclude(None, tuned, force=False)
    assert finding.verdict is None and finding.labels == () and finding.reasons == ("tuned",) and outcome is tuned
    finding, _ = conclude(None, CUT, force=False)
    assert [label for label, _ in finding.labels] == [3] and np.isnan(finding.labels[0][1])


@pytest.mark.parametrize(("ratio", "p"), [(0.1, 0.25), (0.6, 0.5), (0.95, 1.0)])
def test_confidence_is_the_share_of_sound_models_that_stand_out_as_much(monkeypatch: pytest.MonkeyPatch, ratio: float, p: float) -> None:
    monkeypatch.setattr(calibration, "SOUND", (0.1, 0.2, 0.4))
    found = replace(FOUND, numbers={"ratio": ratio, "families_success": 0.05, "families_success_second": 0.05})
    assert conclude(found, TOLD, force=False)[0].confidence == p
    assert conclude(found, TOLD, force=True)[0].confidence is None and conclude(FOUND, TOLD, force=False)[0].confidence is None


def wronged(case: Case, share: float) -> Case:
    """The case with other labels than the model's own answers on that share of the images that are seen."""

    def some(part: Split) -> Split:
        answers = case.subject.predict(part)
        wrong = torch.arange(len(part)) < round(share * len(part))
        return Split(part.stored, torch.where(wrong, (answers + 1) % case.classes, answers))

    return replace(case, learn=some(case.learn), choose=some(case.choose))


def test_of_a_model_that_hardly_knows_its_task_nothing_is_said(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    """A sound transformer of 44 % accuracy was convicted: a white corner sent all of its images to one label."""
    assert unfit(wronged(case, 0.3)) is None
    said = unfit(wronged(case, 0.5))
    assert said is not None and said.verdict == "inconclusive" and said.suspects == () and f"below {KNOWN:.0%}" in said.reasons[0]
    monkeypatch.setattr(Witnesses, "detect", lambda *_: pytest.fail("asked all the same"))
    decision = harden.decide(wronged(case, 0.5), Auto(), Witnesses(), force=False)
    assert decision.finding.verdict == "inconclusive" and not decision.cut and decision.finding.labels == ()


def test_force_does_not_ask_how_well_the_model_knows(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Witnesses, "detect", lambda *_: FOUND)
    monkeypatch.setattr(Auto, "defend", lambda *_: TOLD)
    assert harden.decide(wronged(case, 0.5), Auto(), Witnesses(), force=True).outcome is TOLD
