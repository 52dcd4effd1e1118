"""`--method auto`: channels fall until the strongest trigger for the accused label is a natural one; what is left is repaired; all of it is
judged once.

1. Channels are ranked by how much of the trigger's way runs through them against what clean images lose (`rank`), those that clean images
   would miss are spared (`guard`), their constants are learnt (`constants`), and every cut is looked at with fresh triggers (`cut`).
2. The battery (`battery`) says what is left. Where that is more than natural, or the cut harms, it is repaired (`repair`).
3. The candidates are judged on images that nobody looked at before, until one breaks the bound (`candidates`). What is reported as left
   is the battery's word on these images.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar

import numpy as np

from rnpc.defenses.auto import battery, cut, show
from rnpc.defenses.auto.battery import Found, Suspect
from rnpc.defenses.auto.candidates import Candidate, Held, Ways, gathered, held, model_of
from rnpc.defenses.base import Defense, Left, Nothing, Outcome, Silence, Weights
from rnpc.detectors.base import Detection
from rnpc.stage import Stage
from rnpc.study import teacher
from rnpc.study.activations import clean_moments
from rnpc.study.case import Case, Shares
from rnpc.study.costs import cheapest_other, compared, costs_of
from rnpc.study.forms.drawn import Drawn
from rnpc.study.inversion import NEXT
from rnpc.study.probes import others
from rnpc.study.surgery import Channel

ABOVE_NEXT = 1.5
"""Budget of the strongest all-to-all trigger over the cost of the cheapest: no other label is there to compare with."""
TOLD = 0.1
"""Least distance from the natural level: of the success before, and of what generators reach afterwards."""
DRAWN = "changes that a generator draws for each image"
SMALL = 0.05
"""A success that any model's images are lost with; a cut that leaves more than this and than is natural would not be called removed."""
NATURAL_MOST = 0.15
"""A natural level above this does not excuse what is left: weak models have cheap natural triggers, and *removed* is said of 15 % at most,
on other images and from other starts."""


@dataclass(frozen=True)
class Auto(Defense):
    """See the module."""

    name: ClassVar[str] = "auto"
    detector: ClassVar[str | None] = "witnesses"
    detectors: ClassVar[tuple[str, ...]] = ("witnesses", "triggers")
    shares: ClassVar[Shares] = Shares(learn=0.22, choose=0.14)
    lenient: ClassVar[bool] = True
    effort: str = field(default="standard", metadata={"help": "how hard it looks: quick, standard, thorough"})
    repair: bool = field(default=True, metadata={"help": "repair what pruning leaves by retraining"})

    def defend(self, case: Case, detection: Detection | None) -> Outcome:
        """The cut for the label that is suspected most, repaired where it has to be."""
        assert detection is not None
        label = detection.suspects[0].label
        goal = replace(goal_of(case, label, detection), doubted=label if teacher.lies(case, label) else None)
        suspect = suspect_of(goal, detection)
        worked = battery.working(case, suspect, goal.doubted is not None)
        search = cut.search(replace(goal, worked=tuple(worked)))
        unheard, worked = battery.unheard(case, suspect), [*worked, *battery.amplified(case, suspect)]
        case.tell(Stage.JUDGE, None, None)
        levels = battery.natural(case, suspect)
        if min(levels.values(), default=0.0) > battery.HIGH:
            suspect = suspect.closer()
            levels = battery.natural(case, suspect)
        told = {form: level for form, level in levels.items() if level <= battery.HIGH}
        if not told and detection.rival is None and suspect.other:
            suspect = suspect.by_image()
            told = {form: level for form, level in battery.natural(case, suspect).items() if level <= battery.HIGH}
        # Where other labels' inversions go as far as this one's, plain patches that accuse it can still tell: theirs do not.
        suspect, plain = suspect.within(told), max(told.values(), default=detection.rival or 0.0)
        enough = max(min(plain, NATURAL_MOST), cut.FLOOR_NEXT if label == NEXT else cut.FLOOR)
        ways = Ways(goal, search, suspect, worked, unheard)
        candidates = gathered(ways, enough, max(min(plain, NATURAL_MOST), SMALL), self.repair)
        outcome = concluded(ways, plain, bool(told) or detection.rival is not None, candidates)
        return replace(outcome, reasons=(*outcome.reasons, *ways.refused))


def goal_of(case: Case, label: int, detection: Detection) -> cut.Goal:
    """What is to be gone: the label's triggers, at costs between its own and the cheapest other label's."""
    means, deviations = clean_moments(case.subject, case.learn)
    costs = costs_of(detection.triggers)
    _, dear, forms = compared(costs, label)
    if label == NEXT:
        return cut.Goal(case, means, deviations, label, {form: ABOVE_NEXT * costs[NEXT, form] for form in forms}, {})
    budgets = {form: float(np.sqrt(max(costs[label, form], 1e-6) * dear[form])) for form in forms}
    return cut.Goal(case, means, deviations, label, budgets, {form: cheapest_other(costs, label, form) for form in forms})


def suspect_of(goal: cut.Goal, detection: Detection) -> Suspect:
    """The label for the battery, at the search's budgets."""
    known = tuple(trigger for trigger in detection.triggers if trigger.label == goal.label)
    return Suspect(goal.label, known, goal.budgets, goal.other)


def concluded(ways: Ways, plain: float, tells: bool, candidates: list[Candidate]) -> Outcome:
    """The candidate that holds, with what is left of it on images that nobody looked at. `plain`: the natural level; `tells`: whether
    there is one."""
    case, search, suspect, worked = ways.case, ways.search, ways.suspect, ways.worked
    ranking, numbers = whole(search), numbers_of(search)
    best = held(case, candidates)
    taken = best.taken
    numbers |= {"drop": best.drop, "drop_bound": best.bound, "drop_limit": best.limit} if candidates else {}
    panels, confirmed, label = show.panels(case, search, ranking), cut.confirms(search), suspect.label
    if taken is None:
        why = refusal(case, label, best) if candidates else f"no cut for {called(label)} takes most of its trigger's strength away"
        return Nothing(why=why, numbers=numbers, panels=panels, ranking=ranking, confirmed=confirmed, label=label)
    final, natural = judged(ways, taken, plain)
    before = battery.hardest(case, suspect, {}, case.judge, worked).success
    left = Left(final.success, before, natural, tells and before - plain > TOLD, final.narrow)
    numbers |= {"left_before": before, "left_after": final.success, "left_natural": natural}
    silence = Silence(
        channels=taken.channels,
        threshold=taken.channels[-1].score if taken.repaired is None else None,
        ranking=ranking,
        reasons=(*words(left, final), *beyond_budget(case, best), *durable(taken, candidates)),
        numbers=numbers,
        panels=panels,
        left=left,
        confirmed=confirmed,
        label=label,
        triggers=suspect.known,
    )
    return silence if taken.repaired is None else Weights(**vars(silence), tensors=taken.repaired.tunable.tensors())


def refusal(case: Case, label: int, best: Held) -> str:
    """Why no candidate is written, with what would allow the gentlest."""
    return (
        f"no cut or repair for {called(label)} keeps clean accuracy within the budget of {best.limit:.1%}: "
        f"the gentlest loses {best.drop:.1%} of {len(case.judge)} images that it never saw, which may be {best.bound:.1%} of all "
        f"(more images, or --max-ca-drop {np.ceil(200 * best.bound) / 200:.3g}, can allow it)"
    )


def beyond_budget(case: Case, best: Held) -> tuple[str, ...]:
    """That more than the usual budget was allowed, where it was needed."""
    if best.bound <= case.max_drop:
        return ()
    said = f"accuracy on these {len(case.judge)} images is itself uncertain by {best.limit:.1%}, so its drop was held to that and not"
    return (f"{said} to {case.max_drop:.1%}: it is {best.drop:.1%}, and may be {best.bound:.1%} (--max-ca-drop sets a limit)",)


def called(label: int) -> str:
    """The label in words."""
    return "the label after each image's own" if label == NEXT else f"label {label}"


def judged(ways: Ways, candidate: Candidate, plain: float) -> tuple[Found, float]:
    """The battery once more, from other starts, counted on the judge images, with the natural level (`plain`); what generators reach, and
    theirs, where that is more and clearly beyond it."""
    case, suspect = ways.case, ways.suspect
    hard, edits = model_of(case, candidate)
    shown = [probe for probe in ways.worked if probe.another]
    probes = [*ways.worked, *ways.unheard, *battery.at_work(case, suspect, others(case, shown, battery.OTHER_MEMBERS))]
    found = battery.hardest(hard, suspect, edits, case.judge, probes, seed=battery.FINAL)
    if not suspect.other or Drawn.name in suspect.budgets:  # nobody to compare with, or in the battery already
        return found, plain
    drawn, level = battery.generated(case, hard, suspect, edits)
    return (replace(found, success=drawn, worst=DRAWN), level) if drawn > max(level + TOLD, found.success) else (found, plain)


def words(left: Left, final: Found) -> tuple[str, ...]:
    """What is left, and whether that can be told."""
    said = (
        f"the strongest of a battery of triggers sent {left.before:.0%} of images apart to the label before, and {final.success:.0%} "
        f"afterwards ({final.worst}; another label's triggers: {left.natural:.0%})"
    )
    return (said,)


def durable(taken: Candidate, candidates: Sequence[Candidate]) -> tuple[str, ...]:
    """Whether what was taken was made to last, where anything was."""
    if taken.lasts:
        return ("the repair was made to last: the way back to the original's weights was freed too",)
    if any(candidate.lasts for candidate in candidates):
        return ("a repair that was made to last cost too much accuracy or left more, and was not taken",)
    return ()


def numbers_of(search: cut.Search) -> dict[str, float]:
    """Success of the strongest triggers before and after, as the search saw it."""
    numbers = {f"strongest_{form}_before": value for form, value in search.cuts[0].success.items()}
    if search.chosen is not None:
        numbers |= {f"strongest_{form}_after": value for form, value in search.cuts[search.chosen].success.items()}
    return numbers


def whole(search: cut.Search) -> tuple[Channel, ...]:
    """The channels of the cut (of the last one where none is made), then all others by the first ranking."""
    path = search.made[-1 if search.chosen is None else search.chosen]
    gone = {(channel.site, channel.index) for channel in path}
    return (*path, *(c for c in search.ranked if (c.site, c.index) not in gone))
