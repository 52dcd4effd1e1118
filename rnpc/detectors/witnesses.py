"""The verdict of two witnesses that share nothing: what triggers cost, and either what a cut takes away or how far scores can be driven.

The triggers look at every label. Where they accuse one, or leave a doubt, the defense is asked first: a backdoor is the work of a few
channels, natural features are shared by many, so that a cut which takes most of the trigger's strength away within the accuracy budget is
the second witness. Where it does not, and where the triggers accuse nobody, MM-BD looks: margins over noise, no image, no trigger. Two that
name one label convict. One alone is `inconclusive`, whatever it says; `clean` needs both to see nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar

from rnpc.detectors.base import Accused, Detection, Detector, Verdict
from rnpc.detectors.mmbd import MmBd
from rnpc.detectors.triggers import Triggers
from rnpc.study.case import Case

LONE = 0.003
"""Largest p-value of MM-BD that keeps a model from being called clean although triggers see nothing. Its published 0.05 would call one
model of twenty that; strong backdoors lie below 0.003 (docs/method.md)."""
AGREE = 0.05
"""Largest p-value that counts where it names the label that triggers name."""
CUT = "a few channels carry most of that trigger's strength, as they do in a backdoor"
NO_CUT = "no cut within the accuracy budget takes most of that trigger's strength away, as one does from a backdoor"


@dataclass(frozen=True)
class Witnesses(Detector):
    """See the module."""

    name: ClassVar[str] = "witnesses"
    effort: str = field(default="standard", metadata={"help": "how hard it looks: quick, standard, thorough"})

    def __post_init__(self) -> None:
        Triggers(self.effort)

    def detect(self, case: Case) -> Detection:
        """Who is suspected. `doubt` asks the defense for its testimony."""
        first = Triggers(self.effort).detect(case)
        if first.verdict == "backdoored" or first.doubt:
            return replace(first, verdict="inconclusive", doubt=True)
        second = self.second().detect(case)
        if first.verdict == "inconclusive":
            return joined(first, second, "inconclusive")
        low = [suspect for suspect in second.suspects if suspect.p_value is not None and suspect.p_value <= LONE]
        lone = bool(low) or second.verdict == "inconclusive"
        return joined(first, second, "inconclusive" if lone else "clean", second.suspects if lone else first.suspects)

    def reconsider(self, case: Case, detection: Detection, confirmed: bool) -> Detection:
        """With what the cut said."""
        if confirmed:
            return replace(detection, verdict="backdoored", reasons=(*detection.reasons, CUT))
        asked = replace(detection, reasons=(*detection.reasons, NO_CUT))
        second = self.second().detect(case)
        named = {suspect.label for suspect in second.suspects if suspect.p_value is not None and suspect.p_value <= AGREE}
        return joined(asked, second, "backdoored" if detection.suspects[0].label in named else "inconclusive")

    def second(self) -> MmBd:
        """MM-BD at this effort."""
        return MmBd(images=4, steps=120) if self.effort == "quick" else MmBd()


def joined(first: Detection, second: Detection, verdict: Verdict, suspects: Sequence[Accused] = ()) -> Detection:
    """Both testimonies under one verdict."""
    numbers = {**first.numbers, **{f"mm_bd_{name}": value for name, value in second.numbers.items()}}
    return replace(
        first,
        verdict=verdict,
        suspects=tuple(suspects) or first.suspects,
        reasons=(*first.reasons, *second.reasons),
        numbers=numbers,
        panels=(*first.panels, *second.panels),
        doubt=False,
    )
