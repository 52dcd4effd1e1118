"""How many channels: cut along the ranking until the label is as dear to reach as others, and never beyond the accuracy budget.

The search goes in rounds. In a round channels fall in the order of the ranking, those that clean images would miss passed over (`guard`),
until a trigger that made the ranking has lost its force in one of its forms (`GONE`), and in later rounds a few at least. Triggers are
inverted afresh in the cut model then: they say what the label costs now, and rank the channels that are left for the next round. The
search ends when the label is about as dear as the cheapest other label was in the original (`ENOUGH`). The old triggers would be the wrong
judges: they hold natural features of the label as well, which go on to work when the backdoor is gone, and an attacker's trigger may
work on when they fail.

Where that is not reached, because the budget or the rounds end first or because rounds no longer make the label dearer (`GAIN`), the cut
with the dearest label is made, or one with fewer channels that comes near it (`NEAR`). It has to be so dear that the verdict's rule would
no longer convict it (`LEAST`), or several times dearer than in the original (`TIMES`); else there is none.

A cut is allowed while the one-sided 95 % bound of the paired accuracy drop on the judged images is within the budget. Which channels come
next follows from the learn images; the judged ones only tell which cuts are allowed. A round ends when the drop itself exceeds the budget.
The level of 95 % holds cut by cut, not for the search as a whole.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import islice

import numpy as np

from rnpc.method.guard import spared, strained
from rnpc.method.rank import Channel, Scores, edits_of, rank
from rnpc.method.subject import Subject
from rnpc.method.trigger import FORMS, Effort, Form, Inverted, invert, success
from rnpc.method.verdict import BACKDOORED_BELOW
from rnpc.speed import side_by_side
from rnpc.stats import drop_bound, rate

GONE = 0.05
ENOUGH, LEAST, TIMES = 0.9, BACKDOORED_BELOW, 4.0
ROUNDS, GAIN, NEAR = 8, 1.1, 0.9
MOST_LEAST = 8
POWERS = (1.5, 2.0)
GRID = (1, 2, 4, 6, 8, 12, 16)


@dataclass(frozen=True)
class Judged:
    """One cut as the judged images see it. `known`: the smallest success, over the forms, of the triggers that ranked the channels (on the
    learn images); `ratio`: cost of fresh triggers over the reference, None where none were inverted."""

    channels: int
    threshold: float
    accuracy: float
    low: float
    high: float
    drop: float
    bound: float
    known: float
    ratio: float | None = None


@dataclass
class Search:
    """The path so far: channels in the order in which they fall, every cut that was judged, and the triggers that rank the next ones.

    `ranked` is the first ranking of all channels, the passed over ones included."""

    path: list[Channel] = field(default_factory=list)
    ranked: list[Channel] = field(default_factory=list)
    cuts: list[Judged] = field(default_factory=list)
    triggers: list[Inverted] = field(default_factory=list)
    chosen: int | None = None


@dataclass(frozen=True)
class Task:
    """What a search works on. `reference`: per form the cost at which a label counts as dear."""

    subject: Subject
    means: Scores
    label: int
    reference: dict[Form, float]
    budget: float
    seed: int
    effort: Effort
    tell: Callable[[str, float | None], None]


def search(task: Task, triggers: Sequence[Inverted]) -> Search:
    """Cut until the label is dear, or as far as the budget allows. `chosen` indexes the cut to make, None where there is none."""
    found, hard = Search(triggers=list(triggers)), strained(task.subject.learn, task.seed)
    right = (task.subject.predict(task.subject.judge.pixels) == task.subject.judge.labels).cpu().numpy()
    taken, reached = list[Channel](), dict[int, float]()
    for step in range(ROUNDS):
        task.tell("rank channels", None)
        order = rank(task.subject, found.triggers, task.means, taken=taken, power=POWERS[min(step, 1)])
        found.ranked = found.ranked or order
        least = min(2 ** max(step - 1, 0), MOST_LEAST)
        path, last = advance(task, found, taken, least, spared(task.subject, order, taken, hard), right)
        if last is None:
            found.path = found.path or path
            break
        taken = found.path = path[: found.cuts[last].channels]
        task.tell("invert again", None)
        found.triggers = reinvert(task, taken, step)
        ratio, before = relative_cost(found.triggers, task.reference), max(reached.values(), default=0.0)
        found.cuts[last] = replace(found.cuts[last], ratio=ratio)
        reached[last] = ratio
        if ratio >= ENOUGH or (step > 1 and ratio < GAIN * before):
            break
    found.chosen = choose(reached, relative_cost(triggers, task.reference))
    return found


def choose(reached: Mapping[int, float], original: float) -> int | None:
    """The cut to make: of those that come near the dearest label the first, None where even that label is still cheap.

    `reached`: cut -> ratio, in the order of the search; `original`: the ratio before any cut.
    """
    best = max(reached.values(), default=0.0)
    if best <= LEAST and best < TIMES * original:
        return None
    return next((cut for cut, ratio in reached.items() if ratio >= min(ENOUGH, NEAR * best)), None)


def advance(
    task: Task, found: Search, taken: list[Channel], least: int, more: Iterator[Channel], right: np.ndarray
) -> tuple[list[Channel], int | None]:
    """Judge cuts beyond `taken`, by at least `least` channels, until a known trigger has lost its force.

    The path, and the index of the last allowed cut, if any.
    """
    path, last = list(taken), None
    for extra in GRID:
        path.extend(islice(more, len(taken) + extra - len(path)))
        if len(path) < len(taken) + extra:
            break
        cut = judge(task, found, path, right)
        found.cuts.append(cut)
        task.tell(f"cut: {len(path)} channels", cut.accuracy)
        if cut.bound <= task.budget:
            last = len(found.cuts) - 1
        gone = cut.known <= GONE and extra >= least and last == len(found.cuts) - 1
        if gone or cut.drop > task.budget:
            break
    return path, last


def judge(task: Task, found: Search, cut: Sequence[Channel], right: np.ndarray) -> Judged:
    """Accuracy and triggers with the channels cut."""
    data, edits = task.subject.judge, edits_of(task.subject, cut)
    after = (task.subject.predict(data.pixels, edits) == data.labels).cpu().numpy()
    drop, bound = drop_bound(right, after)
    measured = rate(int(after.sum()), len(after))
    known = min(success(task.subject, trigger, task.subject.learn, edits) for trigger in found.triggers)
    return Judged(len(cut), cut[-1].score, measured.value, measured.low, measured.high, drop, bound, known)


def reinvert(task: Task, cut: Sequence[Channel], step: int) -> list[Inverted]:
    """Fresh triggers in the cut model, one a form."""
    seed, edits = task.seed + 100 * (step + 1), edits_of(task.subject, cut)
    jobs = [partial(invert, task.subject, task.label, form, seed=seed, effort=task.effort, edits=edits) for form in FORMS]
    return side_by_side(jobs, task.subject.device.type)


def relative_cost(triggers: Sequence[Inverted], reference: dict[Form, float]) -> float:
    """Geometric mean over the forms of cost over reference."""
    return float(np.exp(np.mean([np.log(max(t.cost, 1e-6) / reference[t.form]) for t in triggers])))
