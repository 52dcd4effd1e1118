"""How many channels: cut along the ranking until the label is as dear to reach as others, and never beyond the accuracy budget.

The search goes in rounds. In a round channels fall in the order of the ranking, those that clean images would miss passed over (`guard`),
until a trigger that made the ranking has lost its force in one of its forms (`GONE`). Triggers are inverted afresh in the cut model then:
they say what the label costs now, and rank the channels that are left for the next round. The search ends when the label is about as dear
as the cheapest other label was in the original (`ENOUGH`). The old triggers would be the wrong judges: they hold natural features of the
label as well, which go on to work when the backdoor is gone, and an attacker's trigger may work on when they fail.

Where budget, rounds or channels end first, the cut with the dearest label is taken, if the verdict's rule would no longer convict it
(`LEAST`); else there is none.

A cut is allowed while the one-sided 95 % bound of the paired accuracy drop on the judged images is within the budget. Which channels come
next follows from the learn images; the judged ones only tell which cuts are allowed. A round ends when the drop itself exceeds the budget.
The level of 95 % holds cut by cut, not for the search as a whole.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
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
ENOUGH, LEAST = 0.9, BACKDOORED_BELOW
ROUNDS = 5
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
    taken, ratio, reached = list[Channel](), 0.0, list[int]()
    for step in range(ROUNDS):
        task.tell("rank channels", None)
        order = rank(task.subject, found.triggers, task.means, taken=taken, power=POWERS[min(step, 1)])
        found.ranked = found.ranked or order
        path, last = advance(task, found, taken, spared(task.subject, order, taken, hard), right)
        if last is None:
            found.path = found.path or path
            break
        taken = found.path = path[: found.cuts[last].channels]
        task.tell("invert again", None)
        found.triggers = reinvert(task, taken, step)
        ratio = relative_cost(found.triggers, task.reference)
        found.cuts[last] = replace(found.cuts[last], ratio=ratio)
        reached.append(last)
        if ratio >= ENOUGH:
            break
    best = max(reached, key=lambda i: found.cuts[i].ratio or 0.0, default=None)
    found.chosen = best if best is not None and (found.cuts[best].ratio or 0.0) > LEAST else None
    return found


def advance(
    task: Task, found: Search, taken: list[Channel], more: Iterator[Channel], right: np.ndarray
) -> tuple[list[Channel], int | None]:
    """Judge cuts beyond `taken` until a known trigger has lost its force; the path and the index of the last allowed cut, if any."""
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
        if cut.drop > task.budget or (cut.known <= GONE and last == len(found.cuts) - 1):
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
