"""`--method auto`: channels fall until the strongest trigger for the accused label is a natural one; what is left is repaired; all of it is
judged once.

1. Channels are ranked by how much of the trigger's way runs through them against what clean images lose (`rank`), those that clean images
   would miss are spared (`guard`), their constants are learnt (`constants`), and every cut is looked at with fresh triggers (`cut`).
2. The battery (`battery`) says what is left. Where that is more than natural, the cut model is repaired against it (`repair`).
3. The candidates (smaller cuts, the cut with the constants that harm least, the cut, the repaired one) are judged on images that nobody
   looked at before, the one that changes least first, until one breaks the bound; of those that hold, the one with the least left is taken
   (a fixed sequence, which keeps the level of 95 %). What is reported as left is the battery's word on these images.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import ClassVar

import numpy as np

from rnpc.defenses.auto import battery, cut, show
from rnpc.defenses.auto.battery import Found, Suspect
from rnpc.defenses.auto.constants import settle
from rnpc.defenses.auto.repair import Repaired, repair
from rnpc.defenses.base import Defense, Left, Nothing, Outcome, Silence, Weights
from rnpc.detectors.base import Detection
from rnpc.errors import InputRefused
from rnpc.stage import Stage
from rnpc.stats import drop_bound
from rnpc.study.activations import clean_moments
from rnpc.study.case import Case, Shares
from rnpc.study.costs import cheapest_other, compared, costs_of
from rnpc.study.inversion import NEXT
from rnpc.study.probes import Probe
from rnpc.study.subject import Split
from rnpc.study.surgery import Channel, edits_of
from rnpc.twin.module import Edit

ABOVE_NEXT = 1.5
"""Budget of the strongest all-to-all trigger over the cost of the cheapest: no other label is there to compare with."""
ENOUGH = 0.05
"""Success that is repaired no further, natural or not."""
TOLD = 0.1
"""Least distance of the success before from the natural level."""
NATURAL_MOST = 0.3
"""A natural level above this does not excuse what is left: weak models have cheap natural triggers."""


@dataclass(frozen=True)
class Candidate:
    """A way to harden: its channels, the repaired network where there is one, its answers on the choose images, what is left there."""

    channels: tuple[Channel, ...]
    repaired: Repaired | None
    accuracy: float
    left: Found


@dataclass(frozen=True)
class Auto(Defense):
    """See the module."""

    name: ClassVar[str] = "auto"
    detector: ClassVar[str | None] = "witnesses"
    detectors: ClassVar[tuple[str, ...]] = ("witnesses", "triggers")
    shares: ClassVar[Shares] = Shares(learn=0.22, choose=0.14)
    effort: str = field(default="standard", metadata={"help": "how hard it looks: quick, standard, thorough"})
    repair: bool = field(default=True, metadata={"help": "repair what pruning leaves by retraining"})

    def defend(self, case: Case, detection: Detection | None) -> Outcome:
        """The cut for the label that is suspected most, repaired where it has to be."""
        assert detection is not None
        label = detection.suspects[0].label
        goal = goal_of(case, label, detection)
        suspect = suspect_of(goal, detection)
        worked = battery.working(case, suspect)
        search = cut.search(replace(goal, worked=tuple(worked)))
        case.tell(Stage.JUDGE, None, None)
        levels = battery.natural(case, suspect)
        told = {form: level for form, level in levels.items() if level <= battery.HIGH}
        suspect, plain = suspect.within(told), max(told.values(), default=0.0)
        candidates = self.candidates(goal, search, suspect, worked, min(max(plain, ENOUGH), NATURAL_MOST))
        return concluded(case, search, suspect, worked, plain, candidates)

    def candidates(self, goal: cut.Goal, search: cut.Search, suspect: Suspect, worked: list[Probe], enough: float) -> list[Candidate]:
        """The cut, and the cut repaired; without a cut, the model itself repaired."""
        case, chosen = goal.case, search.chosen
        channels = () if chosen is None else search.made[chosen]
        left = battery.hardest(case, suspect, edits_of(case.subject, channels), case.choose, worked)
        found: list[Candidate] = []
        if chosen is not None:
            found = [*smaller(case, search, chosen, suspect, worked), gentle(goal, channels, suspect, worked)]
            found.append(Candidate(channels, None, search.cuts[chosen].accuracy, left))
        dear = chosen is not None and search.cuts[chosen].drop > 0  # the cut has cost accuracy, which a repair gives back for free
        if not self.repair or (left.success <= enough and not dear):
            return found
        try:
            tuned = repair(case, suspect, channels, worked, left, enough)
        except InputRefused:  # weights that cannot be tuned, or a network that falls apart: pruning alone is what there is
            return found
        most = left.success if chosen is not None else cut.HALF * left.success  # what a repair alone takes away is to be as much as a cut's
        if tuned.left.success > most:
            return found
        return [*found, Candidate(channels, tuned, float(tuned.right.mean()), tuned.left)]


def smaller(case: Case, search: cut.Search, chosen: int, suspect: Suspect, worked: list[Probe]) -> list[Candidate]:
    """The cuts before the chosen one that took at least half of the trigger's strength: what is left where that one costs too much."""
    most = cut.HALF * search.excess(search.cuts[0].success)
    places = [i for i in range(1, chosen) if search.excess(search.cuts[i].success) <= most]
    lefts = [battery.hardest(case, suspect, edits_of(case.subject, search.made[i]), case.choose, worked) for i in places]
    return [Candidate(search.made[i], None, search.cuts[i].accuracy, left) for i, left in zip(places, lefts, strict=True)]


def gentle(goal: cut.Goal, channels: tuple[Channel, ...], suspect: Suspect, worked: list[Probe]) -> Candidate:
    """The same channels with constants that harm clean images least, whatever triggers do with them."""
    case = goal.case
    settled = tuple(settle(case, channels, goal.deviations, (), weight=0.0, steps=96))
    left = battery.hardest(case, suspect, edits_of(case.subject, settled), case.choose, worked)
    return Candidate(settled, None, float(cut.answers(goal, settled).mean()), left)


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


def concluded(
    case: Case, search: cut.Search, suspect: Suspect, worked: list[Probe], plain: float, candidates: list[Candidate]
) -> Outcome:
    """The candidate that holds, with what is left of it on images that nobody looked at."""
    ranking, numbers = whole(search), numbers_of(search)
    taken, drop, bound = held(case, candidates)
    panels, confirmed, label = show.panels(case, search, ranking), cut.confirms(search), suspect.label
    if taken is None:
        why = f"no cut or repair for label {suspect.label} keeps clean accuracy within the budget of {case.max_drop:.1%}"
        if not candidates:
            why = f"no cut for label {suspect.label} within the accuracy budget takes most of its trigger's strength away"
        return Nothing(why=why, numbers=numbers, panels=panels, ranking=ranking, confirmed=confirmed, label=label)
    final = judged(case, suspect, worked, taken)
    before = battery.hardest(case, suspect, {}, case.judge, worked).success
    left = Left(final.success, before, plain, bool(suspect.budgets) and before - plain > TOLD)  # no form that can tell: nothing is told
    numbers |= {"left_before": before, "left_after": final.success, "left_natural": plain, "drop": drop, "drop_bound": bound}
    silence = Silence(
        channels=taken.channels,
        threshold=taken.channels[-1].score if taken.repaired is None else None,
        ranking=ranking,
        reasons=words(left, final),
        numbers=numbers,
        panels=panels,
        left=left,
        confirmed=confirmed,
        label=label,
    )
    return silence if taken.repaired is None else Weights(**vars(silence), tensors=taken.repaired.tunable.tensors())


def held(case: Case, candidates: list[Candidate]) -> tuple[Candidate | None, float, float]:
    """The candidate with the least left of those whose bound holds on the judge images, in a fixed sequence; its drop and bound."""
    exact = case.exact()
    best: tuple[Candidate | None, float, float] = (None, float("nan"), float("nan"))
    before = (exact.subject.predict(case.judge) == case.judge.labels).cpu().numpy()
    for candidate in sorted(candidates, key=lambda c: (len(c.channels), c.repaired is not None, -c.accuracy)):
        after = answers(exact, candidate, case.judge)
        drop, bound = drop_bound(before, after)
        if bound > case.max_drop:
            break
        if best[0] is None or candidate.left.success < best[0].left.success:
            best = candidate, drop, bound
    return best


def answers(case: Case, candidate: Candidate, data: Split) -> np.ndarray:
    """Whether each image is answered rightly."""
    hard, edits = model_of(case, candidate)
    right: np.ndarray = (hard.subject.predict(data, edits) == data.labels).cpu().numpy()
    return right


def model_of(case: Case, candidate: Candidate) -> tuple[Case, dict[str, Edit]]:
    """The case with the candidate's network, and its edits."""
    if candidate.repaired is None:
        return case, edits_of(case.subject, candidate.channels)
    tunable = candidate.repaired.tunable
    return replace(case, subject=tunable.subject(case)), dict(tunable.edits)


def judged(case: Case, suspect: Suspect, worked: list[Probe], candidate: Candidate) -> Found:
    """The battery once more, from other starts, counted on the judge images."""
    hard, edits = model_of(case, candidate)
    return battery.hardest(hard, suspect, edits, case.judge, worked, seed=31)


def words(left: Left, final: Found) -> tuple[str, ...]:
    """What is left, and whether that can be told."""
    said = (
        f"the strongest of a battery of triggers sent {left.before:.0%} of images apart to the label before, and {final.success:.0%} "
        f"afterwards ({final.worst}; another label's triggers: {left.natural:.0%})"
    )
    return (said,)


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
