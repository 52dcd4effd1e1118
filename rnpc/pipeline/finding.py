"""From a detection and an outcome to the finding, and to what may be done: no false all-clear, no cut of which nothing can be told, no
verdict of a model that hardly knows its task."""

from __future__ import annotations

from rnpc.defenses.base import Nothing, Outcome, Silence
from rnpc.detectors.base import Detection
from rnpc.detectors.calibration import p_value
from rnpc.program import Finding
from rnpc.study.case import Case

UNTOLD = "what the cut did cannot be told, so it was not written"
KNOWN = 0.6
"""Least share of clean images that a model answers rightly of which a verdict is given: below it sound ones look like backdoored ones."""


def unfit(case: Case) -> Detection | None:
    """What is said of a model that hardly knows its task; None for one that does."""
    seen = case.seen
    right = case.subject.accuracy(seen)
    if right >= KNOWN:
        return None
    said = f"the model answers {right:.0%} of {len(seen)} clean images rightly: below {KNOWN:.0%} anything moves it, nothing can be told"
    return Detection("inconclusive", (), (f"{said} (do classes and preprocessing fit? --force acts all the same)",))


def conclude(detection: Detection | None, outcome: Outcome, force: bool) -> tuple[Finding, Outcome]:
    """The finding, and the outcome as far as it may be carried out."""
    if detection is None:
        labels = () if outcome.label is None else ((outcome.label, float("nan")),)
        return Finding(None, labels, None, outcome.reasons), outcome
    verdict, reasons = detection.verdict, detection.reasons
    if isinstance(outcome, Silence):
        reasons += outcome.reasons
    if not force and verdict != "backdoored":
        outcome = given_up(outcome, "no label is convicted")
    elif not force and isinstance(outcome, Silence) and outcome.confirmed is not None and not outcome.left.told:
        outcome, reasons = given_up(outcome, UNTOLD), (*reasons, UNTOLD)
    accused = tuple((suspect.label, suspect.share) for suspect in detection.suspects) if verdict != "clean" or force else ()
    return Finding(None if force else verdict, accused, None if force else p_value(detection.numbers), reasons), outcome


def given_up(outcome: Outcome, why: str) -> Nothing:
    """Nothing instead of the outcome; what it found is still shown."""
    return Nothing(why=why, panels=outcome.panels, numbers=outcome.numbers, ranking=outcome.ranking, label=outcome.label, left=outcome.left)
