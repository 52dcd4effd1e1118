"""The verdict by triggers: is one label abnormally cheap to reach?

1. A copy is unlearned and masks are recovered beside the rest: its course and votes are shown; they do not decide.
2. Labels are proposed (`candidates`), triggers are inverted for them and for the label after an image's own, and their costs are compared
   (`rules`); where these are close, triggers are inverted once more.
3. What stays in doubt is left to what a cut takes away.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import count
from typing import ClassVar

import numpy as np

from rnpc.detectors.base import Accused, Detection, Detector
from rnpc.detectors.triggers import show
from rnpc.detectors.triggers.candidates import candidates, shift_norms
from rnpc.detectors.triggers.rules import AGAIN, DOUBT, LIMITS, WARPED, Accusation, accuse, close
from rnpc.speed import side_by_side
from rnpc.stage import Stage
from rnpc.study import unlearn
from rnpc.study.case import Case
from rnpc.study.costs import costs_of
from rnpc.study.forms import PIXELS
from rnpc.study.inversion import NEXT, Aim, Effort, Inverted, invert, missed_next, success

EFFORT, WARP, BRIEF = Effort(), Effort(steps=48), Effort(steps=32)
"""For costs that are compared; for warps; for the first look at `NEXT`."""
LEAST_CLASSES = 3
"""Fewest classes among the judged images for which all-to-all is looked at."""
SECOND = 1000
"""Added to the seed where triggers are inverted once more."""


@dataclass(frozen=True)
class Triggers(Detector):
    """See the module. It has no settings: its limits were chosen on victims, and are frozen in `rules`."""

    name: ClassVar[str] = "triggers"

    def detect(self, case: Case) -> Detection:
        """Who is accused. Raises InputRefused without a linear last layer."""
        case.tell(Stage.LABELS, None, None)
        norms = shift_norms(case)
        labels = candidates(case, norms)
        reconstruction, triggers = study(case, labels)
        missed = missed_next(case.subject, triggers[-1], case.judge) if cyclic(case) else 1.0
        if missed <= LIMITS["next"][1]:
            triggers = [*triggers[:-1], *all_to_all(case)]
        accusation, reached = judged(case, triggers, missed)
        if close(accusation, AGAIN):
            triggers = again(case, triggers)
            accusation, reached = judged(case, triggers, missed)
        return conclude(case, accusation, triggers, reached, norms, reconstruction)


def cyclic(case: Case) -> bool:
    """Whether "the label after its own" says anything: with two classes it is "the other one", which a plain flip reaches."""
    return min(case.classes, len(case.judge.labels.unique())) >= LEAST_CLASSES


def judged(case: Case, triggers: list[Inverted], missed: float) -> tuple[Accusation, tuple[float, ...]]:
    """Whom the triggers accuse, and the success of each on judged images."""
    reached = tuple(success(case.subject, t, case.judge) for t in triggers)
    costs = costs_of(triggers)
    return accuse(costs, dict(zip(costs, reached, strict=True)), missed), reached


def again(case: Case, triggers: list[Inverted]) -> list[Inverted]:
    """The triggers, those for pixels from the cheaper of two starts."""
    places = [place for place, t in enumerate(triggers) if t.form in PIXELS and t.label != NEXT]
    jobs = [partial(invert, case, Aim(triggers[i].label, triggers[i].form, case.seed + SECOND), EFFORT) for i in places]
    case.tell(Stage.AGAIN, None, None)
    result = list(triggers)
    for place, other in zip(places, side_by_side(jobs, case.device), strict=True):
        result[place] = min(triggers[place], other, key=lambda t: (not t.held, t.cost))
    return result


def study(case: Case, labels: list[int]) -> tuple[unlearn.Reconstruction, list[Inverted]]:
    """Beside each other: a short unlearning and recovery, and the triggers of each label in each form. The last trigger is a brief one for
    `NEXT`."""
    jobs: list[tuple[int, str, Effort]] = [(label, form, EFFORT) for label in labels for form in PIXELS]
    jobs += [(label, "warp", WARP) for label in labels[:WARPED]]
    jobs.append((NEXT, "additive", BRIEF))
    found, triggers, done = list[unlearn.Reconstruction](), dict[int, Inverted](), count()

    def trigger(place: int, label: int, form: str, effort: Effort) -> None:
        triggers[place] = invert(case, Aim(label, form, case.seed), effort)
        case.tell(Stage.INVERT, (next(done) + 1) / len(jobs), None)

    case.tell(Stage.INVERT, 0.0, None)
    work: list[Callable[[], None]] = [lambda: found.append(unlearn.briefly(case))]
    work += [partial(trigger, place, *job) for place, job in enumerate(jobs)]
    side_by_side(work, case.device)
    return found[0], [triggers[place] for place in range(len(jobs))]


def all_to_all(case: Case) -> list[Inverted]:
    """The cheapest triggers for `NEXT`."""
    return side_by_side([partial(invert, case, Aim(NEXT, form, case.seed), EFFORT) for form in PIXELS], case.device)


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
        doubt=close(accusation, DOUBT),
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
