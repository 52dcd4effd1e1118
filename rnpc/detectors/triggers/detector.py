"""The verdict by triggers: is one label abnormally cheap to reach?

1. A copy is unlearned and masks are recovered beside the rest: its course and votes are shown; they do not decide.
2. Triggers are inverted for every label, and further for the cheapest (`race`), and for the label after an image's own; their costs are
   compared (`rules`); where these are close, the last labels get fresh starts.
3. What stays in doubt is left to what a cut takes away.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import ClassVar

import numpy as np

from rnpc.detectors.base import Accused, Detection, Detector
from rnpc.detectors.triggers import race, show
from rnpc.detectors.triggers.rules import AGAIN, LIMITS, Accusation, accuse, close, doubtful
from rnpc.detectors.triggers.shifts import shift_norms
from rnpc.errors import UsageError
from rnpc.speed import side_by_side
from rnpc.stage import Stage
from rnpc.study import unlearn
from rnpc.study.case import Case
from rnpc.study.costs import costs_of
from rnpc.study.forms import PIXELS
from rnpc.study.inversion import NEXT, Aim, Effort, Inverted, invert, missed_next, success

FULL, BRIEF = Effort(), Effort(steps=32)
"""For all-to-all triggers, and for the first look at them."""
LEAST_CLASSES = 3
"""Fewest classes among the judged images for which all-to-all is looked at."""


@dataclass(frozen=True)
class Triggers(Detector):
    """See the module. Its limits were chosen on victims, and are frozen in `rules`."""

    name: ClassVar[str] = "triggers"
    effort: str = field(default="standard", metadata={"help": f"how hard it looks: {', '.join(race.PACES)}"})

    def __post_init__(self) -> None:
        if self.effort not in race.PACES:
            raise UsageError(f"no effort named {self.effort}", where=self.name, todo=f"choose one of {', '.join(race.PACES)}")

    def detect(self, case: Case) -> Detection:
        """Who is accused. Raises InputRefused without a linear last layer."""
        pace = race.PACES[self.effort]
        case.tell(Stage.LABELS, None, None)
        norms = shift_norms(case)
        labels = [int(label) for label in np.argsort(norms, kind="stable")[: pace.rounds[0].labels]]
        ran, left = race.run(case, PIXELS, labels, pace)
        pixels = {(label, form): ran.found[label, form] for label in left for form in PIXELS}
        others, reconstruction = beside(case, labels, pace)
        accusation, reached = judged(case, [*pixels.values(), *others])
        if close(accusation, AGAIN) and pace.fresh:
            case.tell(Stage.AGAIN, None, None)
            pixels = race.again(ran, left, pace)
            accusation, reached = judged(case, [*pixels.values(), *others])
        return conclude(case, accusation, [*pixels.values(), *others], reached, norms, reconstruction)


def beside(case: Case, labels: list[int], pace: race.Pace) -> tuple[list[Inverted], unlearn.Reconstruction]:
    """What does not need the race: warps, triggers for the label after an image's own, a short unlearning."""
    found = list[unlearn.Reconstruction]()
    jobs: list[Callable[[], Inverted | None]] = [lambda: found.append(unlearn.briefly(case)), partial(brief_next, case)]
    others = race.warps(case, labels, pace)
    first = side_by_side(jobs, case.device)[1]
    if first is None:
        return others, found[0]
    if missed_next(case.subject, first, case.choose) <= LIMITS["next"][1]:
        return [*others, *all_to_all(case)], found[0]
    return [*others, first], found[0]


def brief_next(case: Case) -> Inverted | None:
    """A brief trigger for `NEXT`, where that says anything."""
    return invert(case, Aim(NEXT, "additive", case.seed), BRIEF) if cyclic(case) else None


def cyclic(case: Case) -> bool:
    """Whether "the label after its own" says anything: with two classes it is "the other one", which a plain flip reaches."""
    return min(case.classes, len(case.choose.labels.unique())) >= LEAST_CLASSES


def judged(case: Case, triggers: list[Inverted]) -> tuple[Accusation, tuple[float, ...]]:
    """Whom the triggers accuse, and the success of each on images that it was not learnt on."""
    reached = tuple(success(case.subject, t, case.choose) for t in triggers)
    costs = costs_of(triggers)
    cycles = [trigger for trigger in triggers if trigger.label == NEXT and trigger.form == "additive"]
    missed = missed_next(case.subject, cycles[0], case.choose) if cycles else 1.0
    return accuse(costs, dict(zip(costs, reached, strict=True)), missed), reached


def all_to_all(case: Case) -> list[Inverted]:
    """The cheapest triggers for `NEXT`."""
    return side_by_side([partial(invert, case, Aim(NEXT, form, case.seed), FULL) for form in PIXELS], case.device)


def conclude(
    case: Case,
    accusation: Accusation,
    triggers: list[Inverted],
    reached: tuple[float, ...],
    norms: np.ndarray,
    reconstruction: unlearn.Reconstruction,
) -> Detection:
    """Put everything into a detection."""
    votes = reconstruction.votes
    share = float("nan") if accusation.label == NEXT else float(votes[accusation.label])
    numbers = {"ratio": accusation.numbers[accusation.rule], **{f"rule_{rule}": value for rule, value in accusation.numbers.items()}}
    numbers |= {f"ratio_{form}": value for form, value in accusation.by_form.items()}
    return Detection(
        verdict=accusation.verdict,
        suspects=(Accused(accusation.label, 1 / max(accusation.numbers[accusation.rule], 1e-6), None, share),),
        reasons=(said(accusation), *(() if accusation.measured else (NOTHING_WORKED,))),
        numbers=numbers,
        triggers=tuple(triggers),
        reached=reached,
        panels=show.panels(case, accusation, triggers, reached, norms, reconstruction),
        doubt=doubtful(accusation),
    )


NOTHING_WORKED = "no label's trigger works on half of the held-out images: the search saw nothing, which acquits nobody"


def said(accusation: Accusation) -> str:
    """What the most suspicious rule saw."""
    number = accusation.numbers[accusation.rule]
    if accusation.rule == "next":
        return f"one trigger sends {1 - number:.0%} of the judged images to the label after their own"
    kind = "warp" if accusation.rule == "warp" else "additive and patch triggers"
    verb = "costs" if accusation.rule == "warp" else "cost"
    return f"the cheapest {kind} for label {accusation.label} {verb} {number:.2f} of what another label's {verb}"
