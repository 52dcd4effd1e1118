"""How many channels: cut in rounds until the strongest trigger is no stronger than for another label, within the accuracy budget.

A round has four parts. The triggers known so far rank the channels that are left (`rank`). The next few fall, those that clean images would
miss passed over (`guard`). The constants of all channels cut so far are learnt anew (`constants`). Then the strongest triggers are inverted
afresh in the cut model, in each form in which the label was cheap, at the geometric mean of what the label and what the cheapest other one
cost in the original: far enough above the backdoor's own price that all of its channels answer, far enough below that of natural
features. Their success on judged images stands in for the attack's own, which nobody here knows; they rank the next channels.

The search ends when that success is no higher than the same budget buys for another label in the original (`levels`), or a floor. Where the
rounds or the accuracy end first, the cut that comes nearest is made, if it took away at least half of what stood above those levels.

A cut is allowed while the drop on the choose images is within a share of the budget. The constants first weigh triggers as much as that
lets them: `TRIES` are made in turn until a cut is allowed, then the same with half of the new channels, a quarter and an eighth; after
two rounds without an allowed cut the search gives up. It may look at the choose images as often as it wants: the bound is taken on
others, once.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import islice

import numpy as np

from rnpc.defenses.auto.constants import settle
from rnpc.defenses.auto.guard import spared
from rnpc.defenses.auto.rank import rank
from rnpc.speed import side_by_side
from rnpc.stage import Stage
from rnpc.stats import drop_bound, rate
from rnpc.study.activations import Scores
from rnpc.study.case import Case
from rnpc.study.inversion import NEXT, Aim, Effort, Inverted, strongest, success
from rnpc.study.probes import Probe, probed
from rnpc.study.strain import copies
from rnpc.study.subject import Split
from rnpc.study.surgery import Channel, edits_of

STRONG = Effort(steps=40)
"""For strongest triggers."""
STEPS = (1, 1, 1, 2, 3, 4, 4)
UNIT = 75
"""Channels that fall in each round, in units of a 75th part of all: 16 of 1,200."""
TRIES = ((0.1, 24), (0.03, 24), (0.0, 48))
"""Weight of the triggers and steps for the constants of a cut, until one is allowed."""
SLACK = 0.25
"""Share of the accuracy budget that a cut may spend on the images that the search sees: the bound of the others is wider than the drop."""
HALVINGS = 3
"""How often a round is halved where it is not allowed."""
FLOOR, FLOOR_NEXT = 0.10, 0.20
PROBES = 0.25
"""Success of a known trigger that is natural: some are large, and strain a sound model too."""
HALF = 0.5
LEFT = 0.4
"""Most of the strongest trigger's success that a cut may leave where it is to convict."""


@dataclass(frozen=True)
class Judged:
    """One cut as the images that the search sees judge it. `success`: of the strongest fresh trigger in each form; `probes`: of the known
    triggers that worked in the original, the largest."""

    channels: int
    threshold: float | None
    accuracy: float
    low: float
    high: float
    drop: float
    bound: float
    success: Mapping[str, float] = field(default_factory=dict)
    probes: float = 0.0


@dataclass
class Search:
    """Every cut that was judged with its channels, from the empty one on, and all channels by the first ranking.

    `levels`: by form, the success that counts as natural; `chosen`: index of the cut to make, None where there is none."""

    budgets: Mapping[str, float]
    levels: Mapping[str, float]
    ranked: list[Channel] = field(default_factory=list)
    cuts: list[Judged] = field(default_factory=list)
    made: list[tuple[Channel, ...]] = field(default_factory=list)
    chosen: int | None = None

    def excess(self, found: Mapping[str, float]) -> float:
        """How much of the way from the natural levels to certain success is left, in the worst form; at most 0 where none is."""
        return max((found[form] - level) / max(1 - level, 1e-6) for form, level in self.levels.items())

    def left(self, cut: Judged) -> float:
        """What is left after a cut: of the fresh triggers' excess, or of what the probes reach above `PROBES`; 0 where all is natural."""
        return max(self.excess(cut.success), (cut.probes - PROBES) / (1 - PROBES), 0.0)


@dataclass(frozen=True)
class Goal:
    """What a search wants gone. `means`, `deviations`: of each channel on clean images; `budgets`: by form, the cost of the strongest
    triggers for `label`; `other`: by form, the label whose success counts as natural, if any; `worked`: probes that work in the original.
    They tell the search when to stop and are never fitted to, so that they may judge it. `doubted`: the label where the original is not
    believed of it on made images, None where it is (`study.teacher`)."""

    case: Case
    means: Scores
    deviations: Scores
    label: int
    budgets: Mapping[str, float]
    other: Mapping[str, int]
    worked: tuple[Probe, ...] = ()
    doubted: int | None = None


def search(goal: Goal) -> Search:
    """Cut until the label's strongest trigger is natural, or as far as the budget allows."""
    case = goal.case
    case.tell(Stage.STRONGEST, None, None)
    right = answers(goal, ())
    triggers, found = begin(goal, right)
    hard, taken = copies(case.learn, case.seed), list[Channel]()
    unit = max(1, round(sum(site.channels for site in goal.case.subject.sites) / UNIT))
    for step, count in enumerate(STEPS):
        case.tell(Stage.RANK, None, None)
        order = rank(case, triggers, goal.means, taken=taken)
        found.ranked = found.ranked or order
        more = list(islice(spared(goal.case.subject, order, taken, hard), count * unit))
        if not more:
            break
        case.tell(Stage.CUT, None, found.cuts[-1].accuracy)
        taken, judged = fall(goal, taken, more, triggers, right)
        if judged.drop > 2 * goal.case.max_drop:
            break
        case.tell(Stage.AGAIN, None, judged.accuracy)
        triggers = afresh(goal, list(found.levels), taken, step)
        edits = edits_of(goal.case.subject, taken)
        reached = {t.form: success(goal.case.subject, t, goal.case.choose, edits) for t in triggers}
        probes = max((probed(case, goal.label, probe, case.choose, edits) for probe in goal.worked), default=0.0)
        found.cuts.append(replace(judged, success=reached, probes=probes))
        found.made.append(tuple(taken))
        if (allowed(judged, goal.case.max_drop) and found.left(found.cuts[-1]) <= 0) or beyond(found, goal.case.max_drop):
            break
    found.chosen = choose(found, goal.case.max_drop)
    return found


def allowed(judged: Judged, max_drop: float) -> bool:
    """Whether a cut may go on to be judged: the drop on the images that choose leaves some of the budget to the others."""
    return judged.drop <= SLACK * max_drop


def beyond(found: Search, max_drop: float) -> bool:
    """Whether the last two cuts were not allowed."""
    return len(found.cuts) > 2 and not any(allowed(cut, max_drop) for cut in found.cuts[-2:])


def begin(goal: Goal, right: np.ndarray) -> tuple[list[Inverted], Search]:
    """The strongest triggers in the original, and a search that knows their success and the natural levels.

    Forms in which hardly any image is reached say nothing of the label, and are left out."""
    jobs = [partial(at_budget, goal, goal.label, form) for form in goal.budgets]
    jobs += [partial(at_budget, goal, goal.other[form], form) for form in goal.other]
    made = side_by_side(jobs, goal.case.device)
    reached = [success(goal.case.subject, trigger, goal.case.choose) for trigger in made]
    own = dict(zip(goal.budgets, zip(made, reached, strict=False), strict=False))
    natural = dict(zip(goal.other, reached[len(own) :], strict=True))
    floor = max(FLOOR_NEXT, largest_class(goal.case.choose)) if goal.label == NEXT else FLOOR
    most = max(share for _, share in own.values())
    levels = {form: max(natural.get(form, 0.0), floor) for form, (_, share) in own.items() if share >= HALF * most}
    first = replace(judge(goal, (), right), success={form: own[form][1] for form in levels})
    return [own[form][0] for form in levels], Search({form: goal.budgets[form] for form in levels}, levels, cuts=[first], made=[()])


def largest_class(data: Split) -> float:
    """Its share of the images."""
    return float(data.labels.unique(return_counts=True)[1].max()) / len(data)


def at_budget(goal: Goal, label: int, form: str, seed: int = 0, taken: Sequence[Channel] = ()) -> Inverted:
    """The strongest trigger for a label with the channels cut."""
    aim = Aim(label, form, goal.case.seed + seed, edits_of(goal.case.subject, taken))
    return strongest(goal.case, aim, goal.budgets[form], STRONG)


def afresh(goal: Goal, forms: Sequence[str], taken: Sequence[Channel], step: int) -> list[Inverted]:
    """The strongest triggers in the cut model, one a form, from a start that no earlier round had."""
    jobs = [partial(at_budget, goal, goal.label, form, 100 * (step + 1), taken) for form in forms]
    return side_by_side(jobs, goal.case.device)


def fall(
    goal: Goal, taken: list[Channel], more: list[Channel], triggers: Sequence[Inverted], right: np.ndarray
) -> tuple[list[Channel], Judged]:
    """`taken` and `more`, or the first of them, with the constants that weigh the triggers most of those that are allowed.

    Where none is, all of them with the constants that harm clean images least."""
    spare = None
    for fewer in shorter(more):
        for weight, steps in TRIES:
            settled = settle(goal.case, [*taken, *fewer], goal.deviations, triggers, doubt=goal.doubted, weight=weight, steps=steps)
            judged = judge(goal, settled, right)
            if allowed(judged, goal.case.max_drop):
                return settled, judged
        spare = spare or (settled, judged)
    assert spare is not None
    return spare


def shorter(channels: list[Channel]) -> Iterator[list[Channel]]:
    """All of them, then the first half, and so on `HALVINGS` times, as long as there are any."""
    for times in range(HALVINGS + 1):
        if fewer := channels[: len(channels) >> times]:
            yield fewer


def judge(goal: Goal, channels: Sequence[Channel], right: np.ndarray) -> Judged:
    """Accuracy on the judged images with the channels cut."""
    after = answers(goal, channels)
    drop, bound = drop_bound(right, after)
    measured = rate(int(after.sum()), len(after))
    threshold = channels[-1].score if channels else None
    return Judged(len(channels), threshold, measured.value, measured.low, measured.high, drop, bound)


def answers(goal: Goal, channels: Sequence[Channel]) -> np.ndarray:
    """Whether each judged image is answered rightly with the channels cut, in float32 as the file will be."""
    data, exact = goal.case.seen, goal.case.subject.exact()
    right: np.ndarray = (exact.predict(data, edits_of(exact, channels)) == data.labels).cpu().numpy()
    return right


def choose(found: Search, max_drop: float) -> int | None:
    """The allowed cut that leaves least of the trigger's success, the first of equals; None where even that leaves more than half."""
    fitting = [i for i, cut in enumerate(found.cuts) if cut.channels and allowed(cut, max_drop)]
    most = HALF * max(found.excess(found.cuts[0].success), 0.0)
    strong = [i for i in fitting if max(found.excess(found.cuts[i].success), 0.0) <= most]
    return min(strong, key=lambda i: found.left(found.cuts[i]), default=None)


def confirms(found: Search) -> bool:
    """Whether the chosen cut took away most of the strongest trigger's success, in the form in which it took away most.

    A backdoor is the work of few channels; natural features are shared by many."""
    if found.chosen is None:
        return False
    before, after = found.cuts[0].success, found.cuts[found.chosen].success
    return min((after[form] / before[form] for form in found.levels if before[form] >= HALF), default=1.0) <= LEFT
