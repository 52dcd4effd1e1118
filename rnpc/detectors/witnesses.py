"""The verdict of two witnesses: what triggers cost, and what a cut takes away, how far scores can be driven, or what patches and generators
reach.

The triggers look at every label, and so do patches that anyone might use (as they are, nothing is fitted). Where one of them accuses a
label or leaves a doubt, the defense is asked: a backdoor is the work of a few channels, natural features are shared by many, so that a
cut which takes most of the trigger's strength away within the accuracy budget is the second witness. Where it does not, patches and
triggers that name one label convict it, and so does a patch that sends nearly all images there and hardly any elsewhere; else strained
copies of images are looked at (they go to one label where the trigger is noise), then MM-BD looks (margins over noise, no image, no
trigger), then generators (changes that differ from image to image, at a budget too small for natural features): one that names the label
convicts. Where nobody is accused, these three are asked: `clean` needs all to see nothing. Strained copies that accuse ask for the cut,
as patches do; one of the others alone is `inconclusive`, but for a generator beyond doubt: it sends nearly all images to its label and
those of no other come near. MM-BD alone must have some support: noise resembles some labels by nature.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import ClassVar

from rnpc.detectors.base import Detection, Detector, Verdict
from rnpc.detectors.families import Families
from rnpc.detectors.generators import Generators
from rnpc.detectors.mmbd import MmBd
from rnpc.detectors.strained import Strained
from rnpc.detectors.triggers import Triggers
from rnpc.detectors.triggers.race import PACES, Pace, Race
from rnpc.study.case import Case
from rnpc.study.forms import PIXELS
from rnpc.study.inversion import success

LONE = 0.003
"""Largest p-value of MM-BD that keeps a model from being called clean although triggers see nothing. Its published 0.05 would call one
model of twenty that; strong backdoors lie below 0.003 (docs/method.md)."""
SUPPORT, NEARLY = 0.3, 0.8
"""What supports it: the label is the first one of patches or generators, which reach so much of the images, or of triggers, whose number is
not above that."""
AGREE = 0.05
"""Largest p-value that counts where it names the label that triggers name."""
CONVICT, DRAWN, STRAYED = "families_convict", "generators_convict", "strained_share"
"""Numbers: 1 where patches convict, with the triggers or alone; 1 where generators do alone; what strained copies do, where they were
asked."""
SURE, BESIDE = 0.95, 0.10
"""Least success of a patch that convicts alone, and the largest of any patch for another label. In sound models no label reaches more than
0.14 (docs/method.md)."""
SURE_DRAWN, BESIDE_DRAWN = 0.9, 0.25
"""The same for generators. In sound models no label reaches more than 0.48."""
BEYOND = "no sound model that was measured follows any of these patches by more than 14%"
BEYOND_DRAWN = "no sound model that was measured follows such a change by more than 48%"
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
        first, patches = Triggers(self.effort).detect(case), Families().detect(case)
        found = joined(first, patches, first.verdict, "families")
        suspected = first.verdict == "backdoored" or first.doubt
        both = suspected and patches.verdict == "backdoored" and first.suspects[0].label == patches.suspects[0].label
        if both or (patches.verdict == "backdoored" and not suspected):
            found = replace(
                searched(case, found, patches, PACES[self.effort]),
                numbers={**found.numbers, CONVICT: float(both or sure(patches))},
                rival=patches.numbers["success_second"],
            )
        if suspected:
            return replace(found, verdict="inconclusive", doubt=True)
        if patches.verdict == "backdoored":
            return replace(found, verdict="inconclusive", doubt=True, suspects=patches.suspects)
        copies = Strained().detect(case)
        found = joined(found, copies, first.verdict, "strained")
        if copies.verdict == "backdoored":
            found = searched(case, found, copies, PACES[self.effort])
            return replace(found, verdict="inconclusive", doubt=True, suspects=copies.suspects)
        second, third = self.second().detect(case), Generators().detect(case)
        found = joined(joined(found, second, first.verdict, "mm_bd"), third, first.verdict, "generators")
        if first.verdict == "inconclusive":
            return found
        if drawn_surely(third):
            found = searched(case, found, third, PACES[self.effort])
            return replace(found, verdict="inconclusive", doubt=True, suspects=third.suspects, numbers={**found.numbers, DRAWN: 1.0})
        low = any(suspect.p_value is not None and suspect.p_value <= LONE for suspect in second.suspects)
        heard = low and second.suspects[0].label in pointed_to(first, patches, third)
        named = third.suspects if third.verdict != "clean" else second.suspects if heard else ()
        failed = "inconclusive" in (second.verdict, third.verdict)
        return replace(found, verdict="inconclusive" if named or failed else "clean", suspects=named or (() if failed else first.suspects))

    def reconsider(self, case: Case, detection: Detection, confirmed: bool) -> Detection:
        """With what the cut said."""
        if confirmed:
            return replace(detection, verdict="backdoored", reasons=(*detection.reasons, CUT))
        asked = replace(detection, reasons=(*detection.reasons, NO_CUT))
        if detection.numbers.get(CONVICT):
            return replace(asked, verdict="backdoored", reasons=(*asked.reasons, BEYOND), doubt=False)
        if detection.numbers.get(DRAWN):
            return replace(asked, verdict="backdoored", reasons=(*asked.reasons, BEYOND_DRAWN), doubt=False)
        label = detection.suspects[0].label
        if STRAYED not in detection.numbers:  # else nobody but they accused it
            copies = Strained().detect(case)
            agreed = copies.verdict == "backdoored" and copies.suspects[0].label == label
            asked = joined(asked, copies, "backdoored" if agreed else "inconclusive", "strained")
            if agreed:
                return asked
        second = self.second().detect(case)
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


def pointed_to(triggers: Detection, *reaching: Detection) -> set[int]:
    """Labels to which a witness points, though it does not accuse them: those for which MM-BD's word alone counts."""
    near = {triggers.suspects[0].label} if triggers.numbers["ratio"] <= NEARLY else set[int]()
    return near | {seen.suspects[0].label for seen in reaching if seen.suspects and seen.numbers["success"] >= SUPPORT}


def sure(patches: Detection) -> bool:
    """Whether a patch is beyond doubt: a trigger that works, seen on images that it was not made for, and no other label answers."""
    return patches.numbers["success"] >= SURE and patches.numbers["success_second"] <= BESIDE


def drawn_surely(drawn: Detection) -> bool:
    """The same of a generator."""
    return drawn.verdict == "backdoored" and drawn.numbers["success"] >= SURE_DRAWN and drawn.numbers["success_second"] <= BESIDE_DRAWN


def searched(case: Case, found: Detection, witness: Detection, pace: Pace) -> Detection:
    """With the triggers of a witness for its label, and searched ones, so that a cut can be asked: where the race left that label early,
    with the effort of its last ones."""
    label, known = witness.suspects[0].label, {(trigger.label, trigger.form) for trigger in found.triggers}
    race = Race(case, [form for form in PIXELS if (label, form) not in known], [label])
    for each in pace.rounds:
        race.go([label], each.effort)
    made = tuple(race.found.values())
    reached = (success(case.subject, trigger, case.choose) for trigger in made)
    return replace(found, triggers=(*found.triggers, *made, *witness.triggers), reached=(*found.reached, *reached, *witness.reached))


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
