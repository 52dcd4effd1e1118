"""How many channels: cut in rounds until the strongest trigger is no stronger than for another label, within the accuracy budget.

A round has four parts. The triggers known so far rank the channels that are left (`rank`). The next few fall, those that clean images would
miss passed over (`guard`). The constants of all channels cut so far are learnt anew (`constants`). Then the strongest triggers are inverted
afresh in the cut model, in each form in which the label was cheap, at the geometric mean of what the label and what the cheapest other one
cost in the original: far enough above the backdoor's own price that all of its channels answer, far enough below that of natural
features. Their success on judged images stands in for the attack's own, which nobody here knows; they rank the next channels.

The search ends when that success is no higher than the same budget buys for another label in the original (`levels`), or a floor. Where the
rounds or the accuracy end first, the cut that comes nearest is made, if it took away at least half of what stood above those levels.

A cut is allowed while the one-sided 95 % bound of the paired accuracy drop on the judged images is within the budget. The constants first
weigh triggers as much as the budget lets them: `TRIES` are made in turn until a cut is allowed, then the same with half of
the new channels, a quarter and an eighth; after two rounds without an allowed cut the search gives up. The level of 95 % holds cut by cut,
not for the search as a whole.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import islice

import numpy as np

from rnpc.method.constants import settle
from rnpc.method.forms import Form
from rnpc.method.guard import spared, strained
from rnpc.method.rank import Channel, Scores, edits_of, rank
from rnpc.method.subject import Split, Subject
from rnpc.method.trigger import NEXT, Effort, Inverted, strongest, success
from rnpc.speed import side_by_side
from rnpc.stats import drop_bound, rate

STEPS = (1, 1, 1, 2, 3, 4, 4)
UNIT = 75
"""Channels that fall in each round, in units of a 75th part of all: 16 of 1,200."""
TRIES = ((0.1, 24), (0.03, 24), (0.0, 48))
"""Weight of the triggers and steps for the constants of a cut, until one is allowed."""
HALVINGS = 3
"""How often a round is halved where it is not allowed."""
FLOOR, FLOOR_NEXT = 0.10, 0.20
HALF = 0.5
LEFT = 0.4
"""Most of the strongest trigger's success that a cut may leave where it is to convict."""


@dataclass(frozen=True)
class Judged:
    """One cut as the judged images see it. `success`: of the strongest fresh trigger in each form."""

    channels: int
    threshold: float | None
    accuracy: float
    low: float
    high: float
    drop: float
    bound: float
    success: Mapping[Form, float] = field(default_factory=dict)


@dataclass
class Search:
    """Every cut that was judged with its channels, from the empty one on, and all channels by the first ranking.

    `levels`: by form, the success that counts as natural; `chosen`: index of the cut to make, None where there is none."""

    budgets: Mapping[Form, float]
    levels: Mapping[Form, float]
    ranked: list[Channel] = field(default_factory=list)
    cuts: list[Judged] = field(default_factory=list)
    made: list[tuple[Channel, ...]] = field(default_factory=list)
    chosen: int | None = None

    def excess(self, found: Mapping[Form, float]) -> float:
        """How much of the way from the natural levels to certain success is left, in the worst form; at most 0 where none is."""
        return max((found[form] - level) / max(1 - level, 1e-6) for form, level in self.levels.items())


@dataclass(frozen=True)
class Task:
    """What a search works on. `means`, `deviations`: of each channel on clean images; `budgets`: by form, the cost of the strongest
    triggers; `other`: by form, the label whose success counts as natural, if any; `max_drop`: the accuracy budget."""

    subject: Subject
    means: Scores
    deviations: Scores
    label: int
    budgets: Mapping[Form, float]
    other: Mapping[Form, int]
    max_drop: float
    seed: int
    effort: Effort
    tell: Callable[[str, float | None], None]


def search(task: Task) -> Search:
    """Cut until the label's strongest trigger is natural, or as far as the budget allows."""
    task.tell("invert strongest triggers", None)
    right = answers(task, ())
    triggers, found = begin(task, right)
    hard, taken = strained(task.subject.learn, task.seed), list[Channel]()
    unit = max(1, round(sum(site.channels for site in task.subject.sites) / UNIT))
    for step, count in enumerate(STEPS):
        task.tell("rank channels", None)
        order = rank(task.subject, triggers, task.means, taken=taken)
        found.ranked = found.ranked or order
        more = list(islice(spared(task.subject, order, taken, hard), count * unit))
        if not more:
            break
        task.tell(f"cut: {len(taken) + len(more)} channels", found.cuts[-1].accuracy)
        taken, judged = fall(task, taken, more, triggers, right)
        if judged.drop > task.max_drop:
            break
        task.tell("invert again", judged.accuracy)
        triggers = afresh(task, list(found.levels), taken, step)
        edits = edits_of(task.subject, taken)
        reached = {t.form: success(task.subject, t, task.subject.judge, edits) for t in triggers}
        found.cuts.append(replace(judged, success=reached))
        found.made.append(tuple(taken))
        if (judged.bound <= task.max_drop and found.excess(reached) <= 0) or beyond(found, task.max_drop):
            break
    found.chosen = choose(found, task.max_drop)
    return found


def beyond(found: Search, max_drop: float) -> bool:
    """Whether the last two cuts were not allowed."""
    return len(found.cuts) > 2 and all(cut.bound > max_drop for cut in found.cuts[-2:])


def begin(task: Task, right: np.ndarray) -> tuple[list[Inverted], Search]:
    """The strongest triggers in the original, and a search that knows their success and the natural levels.

    Forms in which hardly any image is reached say nothing of the label, and are left out."""
    jobs = [partial(at_budget, task, task.label, form) for form in task.budgets]
    jobs += [partial(at_budget, task, task.other[form], form) for form in task.other]
    made = side_by_side(jobs, task.subject.device.type)
    reached = [success(task.subject, trigger, task.subject.judge) for trigger in made]
    own = dict(zip(task.budgets, zip(made, reached, strict=False), strict=False))
    natural = dict(zip(task.other, reached[len(own) :], strict=True))
    floor = max(FLOOR_NEXT, largest_class(task.subject.judge)) if task.label == NEXT else FLOOR
    most = max(share for _, share in own.values())
    levels = {form: max(natural.get(form, 0.0), floor) for form, (_, share) in own.items() if share >= HALF * most}
    first = replace(judge(task, (), right), success={form: own[form][1] for form in levels})
    return [own[form][0] for form in levels], Search({form: task.budgets[form] for form in levels}, levels, cuts=[first], made=[()])


def largest_class(data: Split) -> float:
    """Its share of the images."""
    return float(data.labels.unique(return_counts=True)[1].max()) / len(data)


def at_budget(task: Task, label: int, form: Form, seed: int = 0, taken: Sequence[Channel] = ()) -> Inverted:
    """The strongest trigger for a label with the channels cut."""
    edits = edits_of(task.subject, taken)
    return strongest(task.subject, label, form, task.budgets[form], seed=task.seed + seed, effort=task.effort, edits=edits)


def afresh(task: Task, forms: Sequence[Form], taken: Sequence[Channel], step: int) -> list[Inverted]:
    """The strongest triggers in the cut model, one a form, from a start that no earlier round had."""
    jobs = [partial(at_budget, task, task.label, form, 100 * (step + 1), taken) for form in forms]
    return side_by_side(jobs, task.subject.device.type)


def fall(
    task: Task, taken: list[Channel], more: list[Channel], triggers: Sequence[Inverted], right: np.ndarray
) -> tuple[list[Channel], Judged]:
    """`taken` and `more`, or the first of them, with the constants that weigh the triggers most of those that are allowed.

    Where none is, all of them with the constants that harm clean images least."""
    spare = None
    for fewer in shorter(more):
        for weight, steps in TRIES:
            settled = settle(task.subject, [*taken, *fewer], task.deviations, triggers, weight=weight, steps=steps, seed=task.seed)
            judged = judge(task, settled, right)
            if judged.bound <= task.max_drop:
                return settled, judged
        spare = spare or (settled, judged)
    assert spare is not None
    return spare


def shorter(channels: list[Channel]) -> Iterator[list[Channel]]:
    """All of them, then the first half, and so on `HALVINGS` times, as long as there are any."""
    for times in range(HALVINGS + 1):
        if fewer := channels[: len(channels) >> times]:
            yield fewer


def judge(task: Task, channels: Sequence[Channel], right: np.ndarray) -> Judged:
    """Accuracy on the judged images with the channels cut."""
    after = answers(task, channels)
    drop, bound = drop_bound(right, after)
    measured = rate(int(after.sum()), len(after))
    threshold = channels[-1].score if channels else None
    return Judged(len(channels), threshold, measured.value, measured.low, measured.high, drop, bound)


def answers(task: Task, channels: Sequence[Channel]) -> np.ndarray:
    """Whether each judged image is answered rightly with the channels cut, in float32 as the file will be."""
    data, exact = task.subject.judge, replace(task.subject, fast=False)
    found: np.ndarray = (exact.predict(data.pixels, edits_of(exact, channels)) == data.labels).cpu().numpy()
    return found


def choose(found: Search, max_drop: float) -> int | None:
    """The allowed cut that leaves least of the trigger's success, the first of equals; None where even that leaves more than half."""
    allowed = [i for i, cut in enumerate(found.cuts) if cut.channels and cut.bound <= max_drop]
    if not allowed:
        return None
    left = {i: max(found.excess(found.cuts[i].success), 0.0) for i in allowed}
    best = min(allowed, key=lambda i: left[i])
    return best if left[best] <= HALF * max(found.excess(found.cuts[0].success), 0.0) else None


def confirms(found: Search) -> bool:
    """Whether the chosen cut took away most of the strongest trigger's success, in the form in which it took away most.

    A backdoor is the work of few channels; natural features are shared by many."""
    if found.chosen is None:
        return False
    before, after = found.cuts[0].success, found.cuts[found.chosen].success
    return min((after[form] / before[form] for form in found.levels if before[form] >= HALF), default=1.0) <= LEFT
