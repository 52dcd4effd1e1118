"""The verdict of two witnesses: what triggers cost, and what a cut takes away, how far scores can be driven, or what generators reach.

The triggers look at every label. Where they accuse one, or leave a doubt, the defense is asked first: a backdoor is the work of a few
channels, natural features are shared by many, so that a cut which takes most of the trigger's strength away within the accuracy budget is
the second witness. Where it does not, MM-BD looks (margins over noise, no image, no trigger), then generators (changes that differ from
image to image, at a budget too small for natural features). Two that name one label convict. Where the triggers accuse nobody, both are
asked: `clean` needs all to see nothing, and one alone is `inconclusive`, whatever it says.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import ClassVar

from rnpc.detectors.base import Detection, Detector, Verdict
from rnpc.detectors.generators import Generators
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
        second, third = self.second().detect(case), Generators().detect(case)
        both = joined(joined(first, second, first.verdict, "mm_bd"), third, first.verdict, "generators")
        if first.verdict == "inconclusive":
            return both
        low = any(suspect.p_value is not None and suspect.p_value <= LONE for suspect in second.suspects)
        named = third.suspects if third.verdict == "backdoored" else second.suspects if low else ()
        failed = "inconclusive" in (second.verdict, third.verdict)
        return replace(both, verdict="inconclusive" if named or failed else "clean", suspects=named or first.suspects)

    def reconsider(self, case: Case, detection: Detection, confirmed: bool) -> Detection:
        """With what the cut said."""
        if confirmed:
            return replace(detection, verdict="backdoored", reasons=(*detection.reasons, CUT))
        asked = replace(detection, reasons=(*detection.reasons, NO_CUT))
        label, second = detection.suspects[0].label, self.second().detect(case)
        named = {suspect.label for suspect in second.suspects if suspect.p_value is not None and suspect.p_value <= AGREE}
        asked = joined(asked, second, "backdoored" if label in named else "inconclusive", "mm_bd")
        if label in named:
            return asked
        third = Generators().detect(case)
        agreed = third.verdict == "backdoored" and third.suspects[0].label == label
        return joined(asked, third, "backdoored" if agreed else "inconclusive", "generators")

    def second(self) -> MmBd:
        """MM-BD at this effort."""
        return MmBd(images=4, steps=120) if self.effort == "quick" else MmBd()


def joined(first: Detection, second: Detection, verdict: Verdict, prefix: str) -> Detection:
    """Both testimonies under one verdict; the suspects are the first one's."""
    return replace(
        first,
        verdict=verdict,
        reasons=(*first.reasons, *second.reasons),
        numbers={**first.numbers, **{f"{prefix}_{name}": value for name, value in second.numbers.items()}},
        panels=(*first.panels, *second.panels),
        doubt=False,
    )
