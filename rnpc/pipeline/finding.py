"""From a detection and an outcome to the finding, and to what may be done: no false all-clear, no cut of which nothing can be told."""

from __future__ import annotations

from dataclasses import replace

from rnpc.defenses.base import Nothing, Outcome, Silence
from rnpc.detectors.base import Detection, Verdict
from rnpc.program import Finding

CONFIRMED = "a few channels carry most of that trigger's strength, as they do in a backdoor"
UNCONFIRMED = "no cut within the accuracy budget takes most of that trigger's strength away, as one does from a backdoor"
UNTOLD = "what the cut did cannot be told, so it was not written"


def conclude(detection: Detection | None, outcome: Outcome, force: bool) -> tuple[Finding, Outcome]:
    """The finding, and the outcome as far as it may be carried out."""
    if detection is None:
        labels = () if outcome.label is None else ((outcome.label, float("nan")),)
        return Finding(None, labels, None, outcome.reasons), outcome
    verdict, reasons = verdict_of(detection, outcome), detection.reasons
    if detection.doubt and outcome.confirmed is not None:
        reasons += (CONFIRMED if verdict == "backdoored" else UNCONFIRMED,)
    if isinstance(outcome, Silence):
        reasons += outcome.reasons
    if not force and verdict != "backdoored":
        outcome = Nothing(why="no label is convicted", panels=outcome.panels, numbers=outcome.numbers, ranking=outcome.ranking)
    elif not force and isinstance(outcome, Silence) and outcome.confirmed is not None and not outcome.left.told:
        outcome = Nothing(why=UNTOLD, panels=outcome.panels, numbers=outcome.numbers, ranking=outcome.ranking, label=outcome.label)
        reasons += (UNTOLD,)
    accused = tuple((suspect.label, suspect.share) for suspect in detection.suspects) if verdict != "clean" or force else ()
    p_values = [s.p_value for s in detection.suspects if s.p_value is not None]
    return replace(Finding(None if force else verdict, accused, min(p_values, default=None), reasons)), outcome


def verdict_of(detection: Detection, outcome: Outcome) -> Verdict:
    """The detection's verdict; where it is in doubt, what the cut took away convicts."""
    return "backdoored" if detection.doubt and outcome.confirmed else detection.verdict
