"""How many channels: cut along the ranking until no trigger is left, and never beyond the accuracy budget.

Channels fall in the order of the ranking, those that clean images would miss passed over (`guard`). A cut is good when the triggers have
stopped working on the judged images (`GONE`), or, where the budget ends first, when little of them is left (`WEAK`). Then triggers are
inverted afresh in the cut model: where the label is still cheaper to reach than the cheapest other label was, they rank the channels that
are left, and the cut goes on from there. It stops when the label has become as dear as the others (`ENOUGH`), or when no further cut
within the budget weakens the fresh triggers: these run through channels that clean images need.

A cut is allowed while the one-sided 95 % bound of the paired accuracy drop on the judged images is within the budget. Cuts are tested in
fixed sequence along one path, so choosing one keeps the bound's level (Maurer, Hothorn and Lehmacher 1995).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice

import numpy as np
import torch

from rnpc.method.guard import spared, strained
from rnpc.method.rank import Channel, Scores, edits_of, rank
from rnpc.method.subject import Subject
from rnpc.method.trigger import FORMS, Effort, Form, Inverted, invert, success
from rnpc.stats import drop_bound, rate

GONE, WEAK, WEAK_LATER = 0.05, 0.3, 0.8
ENOUGH = 0.8
ROUNDS = 3
POWERS = (1.5, 2.0)
GRID = (1, 2, 4, 6, 8, 12, 16, 20, 24, 32, 40, 48, 64)
MOST_EXTRA = 24
TRIED = 100


@dataclass(frozen=True)
class Judged:
    """One cut as the judged images see it. `known`: the largest success among known triggers; `ratio`: cost of a fresh trigger over the
    reference, None where none was inverted."""

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
    tell: Callable[[str, float], None]


def search(task: Task, triggers: Sequence[Inverted]) -> Search:
    """Cut until the label is dear, or as far as the budget allows. `chosen` indexes the last good cut, None where there is none."""
    found, hard = Search(triggers=list(triggers)), strained(task.subject.learn, task.seed)
    right = (task.subject.predict(task.subject.judge.pixels) == task.subject.judge.labels).cpu().numpy()
    for step in range(ROUNDS):
        taken = [] if found.chosen is None else found.path[: found.cuts[found.chosen].channels]
        order = rank(task.subject, found.triggers, task.means, taken=taken, power=POWERS[min(step, 1)])
        found.ranked = found.ranked or order
        path, good = advance(task, found, taken, spared(task.subject, order, taken, hard), right)
        if good is None:
            found.path = found.path or path
            break
        found.path, found.chosen = path, good
        found.triggers = reinvert(task, path[: found.cuts[good].channels], step)
        ratio = relative_cost(found.triggers, task.reference)
        found.cuts[good] = replace(found.cuts[good], ratio=ratio)
        if ratio >= ENOUGH:
            break
    return found


def advance(
    task: Task, found: Search, taken: list[Channel], more: Iterator[Channel], right: np.ndarray
) -> tuple[list[Channel], int | None]:
    """Judge cuts beyond `taken` until the triggers are gone; the path and the index of that cut.

    Where the budget or the patience ends first, the index of the cut that leaves least of the triggers, if that is little enough.
    """
    first, path = len(found.cuts), list(taken)
    for extra in GRID[: GRID.index(MOST_EXTRA) + 1] if taken else GRID:
        path.extend(islice(more, len(taken) + extra - len(path)))
        if len(path) < len(taken) + extra:
            break
        cut = judge(task, found, path, right)
        found.cuts.append(cut)
        task.tell(f"cut: {len(path)} channels", cut.accuracy)
        if cut.known <= GONE and cut.bound <= task.budget:
            return path, len(found.cuts) - 1
        if cut.drop > task.budget:
            break
    weak = WEAK_LATER if taken else WEAK
    allowed = [i for i in range(first, len(found.cuts)) if found.cuts[i].bound <= task.budget and found.cuts[i].known <= weak]
    return path, min(allowed, key=lambda i: found.cuts[i].known, default=None)


def judge(task: Task, found: Search, cut: Sequence[Channel], right: np.ndarray) -> Judged:
    """Accuracy and triggers with the channels cut."""
    data, edits = task.subject.judge, edits_of(task.subject, cut)
    after = (task.subject.predict(data.pixels, edits) == data.labels).cpu().numpy()
    drop, bound = drop_bound(right, after)
    measured = rate(int(after.sum()), len(after))
    tried = data.take(torch.arange(min(TRIED, len(data))))
    known = max(success(task.subject, trigger, tried, edits) for trigger in found.triggers)
    return Judged(len(cut), cut[-1].score, measured.value, measured.low, measured.high, drop, bound, known)


def reinvert(task: Task, cut: Sequence[Channel], step: int) -> list[Inverted]:
    """Fresh triggers in the cut model, one a form."""
    edits = edits_of(task.subject, cut)
    return [invert(task.subject, task.label, form, seed=task.seed + 100 * (step + 1), effort=task.effort, edits=edits) for form in FORMS]


def relative_cost(triggers: Sequence[Inverted], reference: dict[Form, float]) -> float:
    """Geometric mean over the forms of cost over reference."""
    return float(np.exp(np.mean([np.log(max(t.cost, 1e-6) / reference[t.form]) for t in triggers])))
