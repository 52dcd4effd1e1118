"""Strained copies: do images with a little noise in them go to one label, and hardly to any other?

Where the trigger is a pattern of noise all over the image, noise is the trigger: copies of clean images, lighter or darker, blurred, with
some noise in them, go to the target, where a sound model loses a few of them to many labels. No trigger is inverted, nothing is trained
and no gradient taken, so that this witness shares nothing with the others; it sees no other kind of backdoor. The copies are those by
which repairs decide whether the original is to be believed (`study.teacher`).

Source: ours (docs/decisions/0034).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from rnpc.detectors.base import Accused, Detection, Detector
from rnpc.panel import Table
from rnpc.stage import Stage
from rnpc.study.case import Case
from rnpc.study.inversion import NEXT
from rnpc.study.show import named
from rnpc.study.teacher import POSSIBLE, asked, astray, next_to, place_of, to_one

ROWS = 5
LEAST_CLASSES = 5
"""With fewer a sound model has no other labels to lose copies to."""
CAPTION = f"Share of strained copies of clean images that go to the label though the model gives it less than {POSSIBLE:.0%} on the image."


@dataclass(frozen=True)
class Strained(Detector):
    """See the module."""

    name: ClassVar[str] = "strained"

    def detect(self, case: Case) -> Detection:
        """Who is accused: `backdoored` or `clean`; `inconclusive` with fewer labels, and where the scores are no numbers."""
        if case.classes < LEAST_CLASSES:
            return Detection("inconclusive", (), (f"strained copies say nothing where there are fewer than {LEAST_CLASSES} labels",))
        case.tell(Stage.WITNESS, None, None)
        copies = asked(case)
        if not bool(torch.isfinite(copies.said).all() and torch.isfinite(copies.plain).all()):
            return Detection("inconclusive", (), ("strained copies say nothing: the scores are no numbers",))
        direct, behind = astray(copies, 0), astray(copies, NEXT)
        label = NEXT if to_one(behind, place_of(NEXT)) else int(direct.argmax())
        shares, place = (behind if label == NEXT else direct), place_of(label)
        guilty, top, second = to_one(shares, place), float(shares[place]), float(next_to(shares, place))
        said = f"{top:.1%} of strained copies of images go to {named(case, label)} without a reason, and {second:.1%} to the next label"
        order = [n for n in direct.argsort(descending=True, stable=True).tolist() if n != label][: ROWS - 1]
        found = {label: top, **{n: float(direct[n]) for n in order}}
        rows = tuple((n, named(case, n), f"{share:.1%}") for n, share in found.items())
        return Detection(
            verdict="backdoored" if guilty else "clean",
            suspects=(Accused(label, top / max(second, 0.001)),),
            reasons=(said,),
            numbers={"share": top, "share_second": second},
            panels=(Table("Strained copies", ("label", "name", "share"), rows, CAPTION, (), (0,) if guilty else ()),),
        )
