"""How many channels: cut along the ranking until no trigger is left, and never beyond the accuracy budget.

Channels fall in the order of the ranking. A cut is good when every trigger known so far has stopped working on the judged images (`GONE`). Then
triggers are inverted afresh in the cut model: where the label is still cheaper to reach than the cheapest other label was, the fresh triggers join the
known ones, rank the channels that are left, and the cut goes on. It stops when the label has become as dear as the others.

A cut is allowed while the one-sided 95 % bound of the paired accuracy drop on the judged images is within the budget. Cuts are tested in
fixed sequence along one path, so choosing one keeps the bound's level (Maurer, Hothorn and Lehmacher 1995).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch

from rnpc.method.rank import Channel, Scores, edits_of, rank
from rnpc.method.subject import Subject
from rnpc.method.trigger import FORMS, Effort, Form, Inverted, invert, success
from rnpc.stats import drop_bound, rate

GONE = 0.05
ENOUGH = 0.8
ROUNDS = 4
GRID = (1, 2, 4, 6, 8, 12, 16, 20, 24, 32, 40, 48, 64, 80, 96, 128, 160, 192, 256)
TRIED = 100
MOST_SHARE = 0.1
PATIENCE = 2.0


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
    """The path so far: channels in the order in which they fall, every cut that was judged, and all triggers."""

    path: list[Channel] = field(default_factory=list)
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
    found = Search(triggers=list(triggers))
    right = task.subject.predict(task.subject.judge.pixels) == task.subject.judge.labels
    for step in range(ROUNDS):
        start = found.cuts[found.chosen].channels if found.chosen is not None else 0
        taken = found.path[:start]
        found.path = [*taken, *rank(task.subject, found.triggers, task.means, taken=taken)]
        good = advance(task, found, start, right.cpu().numpy())
        if good is None:
            break
        found.chosen = good
        fresh = reinvert(task, found.path[: found.cuts[good].channels], step)
        ratio = relative_cost(fresh, task.reference)
        found.cuts[good] = with_ratio(found.cuts[good], ratio)
        if ratio >= ENOUGH:
            break
        found.triggers.extend(fresh)
    return found


def advance(task: Task, found: Search, start: int, right: np.ndarray) -> int | None:
    """Judge cuts beyond `start` until all known triggers are gone; index of that cut, None where the budget ends first."""
    most = int(MOST_SHARE * sum(site.channels for site in task.subject.sites))
    for count in (start + n for n in GRID if start + n <= min(most, len(found.path))):
        cut = judge(task, found, count, right)
        found.cuts.append(cut)
        task.tell(f"{count} channels", cut.accuracy)
        if cut.known <= GONE and cut.bound <= task.budget:
            return len(found.cuts) - 1
        if cut.drop > PATIENCE * task.budget:
            return None
    return None


def judge(task: Task, found: Search, count: int, right: np.ndarray) -> Judged:
    """Accuracy and triggers with the first `count` channels of the path cut."""
    data, edits = task.subject.judge, edits_of(task.subject, found.path[:count])
    after = (task.subject.predict(data.pixels, edits) == data.labels).cpu().numpy()
    drop, bound = drop_bound(right, after)
    measured = rate(int(after.sum()), len(after))
    tried = data.take(torch.arange(min(TRIED, len(data))))
    known = max(success(task.subject, trigger, tried, edits) for trigger in found.triggers)
    score = found.path[count - 1].score
    return Judged(count, score, measured.value, measured.low, measured.high, drop, bound, known)


def reinvert(task: Task, cut: Sequence[Channel], step: int) -> list[Inverted]:
    """Fresh triggers in the cut model, one a form."""
    edits = edits_of(task.subject, cut)
    return [invert(task.subject, task.label, form, seed=task.seed + 100 * (step + 1), effort=task.effort, edits=edits) for form in FORMS]


def relative_cost(triggers: Sequence[Inverted], reference: dict[Form, float]) -> float:
    """Geometric mean over the forms of cost over reference."""
    return float(np.exp(np.mean([np.log(max(t.cost, 1e-6) / reference[t.form]) for t in triggers])))


def with_ratio(cut: Judged, ratio: float) -> Judged:
    """`cut` with the outcome of fresh triggers."""
    return Judged(**{**cut.__dict__, "ratio": ratio})
