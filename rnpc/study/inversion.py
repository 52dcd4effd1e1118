"""Trigger inversion: a change of the image that sends images to one label, in one of the forms of `forms`.

`invert` looks for the cheapest one that works on nearly all images. Adam minimises cross-entropy + lambda * cost; lambda rises by 30 %
while at least 97 % of the batch fall for the trigger and sinks otherwise (the schedule of Neural Cleanse, Wang et al., S&P 2019, in one
run). The cheapest trigger that held over several batches is kept.

`strongest` fixes the cost instead and looks for the trigger that works on most images. What is left of a backdoor in a cut model shows
there: a trigger that still works on a third of the images is out of the first search's sight, since it never works on nearly all. Here
lambda rises while the trigger costs more than the budget; what is left above it at the end is scaled away.

The label may be `NEXT`: every image goes to the label after its own (all-to-all backdoors).

These triggers are surrogates made from clean images: no attack, no triggered image and no test label is ever seen.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor
from torch.nn import functional as F

from rnpc.study.case import Case
from rnpc.study.forms import FORMS, Change, start
from rnpc.study.subject import BATCH, Split, Subject
from rnpc.twin.module import Edit

NEXT = -1
"""The label after an image's own, modulo the number of classes."""
GOAL = 0.97
HELD = 8
RISE, FALL, FIRST_WEIGHT = 1.3, 1.4, 1e-2
LAST_RATE = 0.05
LEAST = 4
"""Images of a step at least, however large they are."""


@dataclass(frozen=True)
class Effort:
    """How hard an inversion tries: Adam steps and images a step."""

    steps: int = 64
    batch: int = 16


@dataclass(frozen=True)
class Aim:
    """What an inversion looks for: a label (or `NEXT`), a form by name, a seed, and the edits of the model that is searched."""

    label: int
    form: str
    seed: int
    edits: Mapping[str, Edit] = field(default_factory=dict)


@dataclass(frozen=True)
class Inverted:
    """A trigger for `label`, with its cost in the form's unit. `held`: whether it worked on nearly all images it was learnt on."""

    label: int
    form: str
    cost: float
    change: Change
    held: bool = True

    def apply(self, pixels: Tensor) -> Tensor:
        """Triggered pixels in [0, 1]."""
        return self.change(pixels)


def aimed(data: Split, label: int, classes: int) -> Split:
    """The images that are not where the trigger is to send them, each with the label that it is to get."""
    rows, wanted = aimed_rows(data, label, classes)
    return Split(data.stored if label == NEXT else data.stored[rows], wanted)


def aimed_rows(data: Split, label: int, classes: int) -> tuple[Tensor, Tensor]:
    """The same as rows and labels: a search for each label that had images of its own would hold all of them many times."""
    if label == NEXT:
        return torch.arange(len(data), device=data.labels.device), (data.labels + 1) % classes
    rows = (data.labels != label).nonzero()[:, 0]
    return rows, torch.full_like(rows, label)


def invert(case: Case, aim: Aim, effort: Effort) -> Inverted:
    """The cheapest trigger found on the learn images."""
    return Inversion(case, aim, effort.batch).advance(effort.steps)


class Inversion:
    """A search for the cheapest trigger that can go on where it stopped. A cost counts from the step at which a third of what was first
    asked for is done."""

    def __init__(self, case: Case, aim: Aim, batch: int) -> None:
        self.aim, self.form, self.search = aim, FORMS[aim.form], _Search(case, aim, Effort(batch=batch))
        self.weight, self.hits, self.done, self.warm = FIRST_WEIGHT, deque[float](maxlen=HELD), 0, -1
        self.best: Inverted | None = None
        self.last: Inverted | None = None

    def advance(self, steps: int, batch: int | None = None) -> Inverted:
        """Search on; the best so far, or the last where none worked on nearly all images (`held` says which)."""
        self.warm = steps // 3 if self.warm < 0 else self.warm
        if batch is not None:
            self.search.resize(batch)
        for _ in range(steps):
            self.step()
        assert self.last is not None
        return self.best if self.best is not None else self.last

    def step(self) -> None:
        """One step of Adam; lambda follows the hits."""
        change, cost = self.search.parts.change()
        now = Inverted(self.aim.label, self.aim.form, float(cost.detach()), change.detach())
        loss, hit = self.search.attempt(change)
        self.search.step(loss + self.weight * self.form.weight * cost)
        self.hits.append(hit)
        self.weight = min(max(self.weight * RISE if hit >= GOAL else self.weight / FALL, 1e-5), 10.0)
        held = self.done >= self.warm and sum(self.hits) / len(self.hits) >= GOAL - 0.01
        self.best = now if held and (self.best is None or now.cost < self.best.cost) else self.best
        self.last, self.done = replace(now, held=False), self.done + 1


def strongest(case: Case, aim: Aim, budget: float, effort: Effort) -> Inverted:
    """The trigger of at most this cost that works on most learn images."""
    form, search, weight = FORMS[aim.form], _Search(case, aim, effort), FIRST_WEIGHT
    for step in range(effort.steps):
        change, cost = search.parts.change()
        loss, _ = search.attempt(change)
        search.step(loss + weight * form.weight * cost, form.rate * min(1.0, 2 * (1 - step / effort.steps) + LAST_RATE))
        weight = min(max(weight * RISE if float(cost.detach()) > budget else weight / FALL, 1e-5), 10.0)
    change, cost = search.parts.change(budget)
    return Inverted(aim.label, aim.form, float(cost.detach()), change.detach())


class _Search:
    """The parameters of one inversion, its optimiser, and the random batches that it is shown."""

    def __init__(self, case: Case, aim: Aim, effort: Effort) -> None:
        self.subject, self.edits = case.subject, aim.edits
        self.data, self.rows, self.wanted = case.learn, *aimed_rows(case.learn, aim.label, case.classes)
        self.batch = self.subject.at_once(effort.batch, LEAST)
        self.generator = torch.Generator().manual_seed(aim.seed)
        channels, height, width = case.learn.shape
        self.parts = start(FORMS[aim.form], (channels, height, width), self.generator, self.subject.device)
        self.adam = torch.optim.Adam(self.parts.leaves, lr=FORMS[aim.form].rate, betas=(0.5, 0.9))

    def resize(self, batch: int) -> None:
        """Take another number of images a step."""
        self.batch = self.subject.at_once(batch, LEAST)

    def attempt(self, change: Change) -> tuple[Tensor, float]:
        """Loss and share of hits of a change on a random batch of aimed images."""
        drawn = torch.randint(len(self.rows), (self.batch,), generator=self.generator).to(self.subject.device)
        wanted = self.wanted[drawn]
        with self.subject.precision():
            scores = self.subject.logits(change(self.data.pixels(self.rows[drawn])), self.edits).float()
        return F.cross_entropy(scores, wanted), float((scores.argmax(1) == wanted).float().mean())

    def step(self, loss: Tensor, rate: float | None = None) -> None:
        """One step of Adam, at a rate of its own where one is given."""
        self.adam.zero_grad()
        torch.autograd.backward(loss, inputs=self.parts.leaves)
        for group in self.adam.param_groups:
            group["lr"] = group["lr"] if rate is None else rate
        self.adam.step()


def missed_next(subject: Subject, trigger: Inverted, data: Split) -> float:
    """Share of the images that a trigger for `NEXT` fails to send there, of those that the model answers rightly (it knows no label of the
    others that one could come after): the mean over classes, since a change that sends everything to one label serves the images of the
    class before it."""
    data = data.take(subject.predict(data) == data.labels)
    if len(data) == 0:
        return 1.0
    shown = aimed(data, NEXT, subject.classes)
    hit = (subject.predict(shown, change=trigger.apply) == shown.labels).float()
    return 1 - float(torch.stack([hit[data.labels == label].mean() for label in data.labels.unique()]).mean())


def success(subject: Subject, trigger: Inverted, data: Split, edits: Mapping[str, Edit] | None = None) -> float:
    """Share of the images, those of its label left out, that the trigger sends to its label; nan where there are none."""
    hits = reached(subject, trigger, data, edits)[1]
    return float(hits.float().mean()) if len(hits) else float("nan")


def reached(subject: Subject, trigger: Inverted, data: Split, edits: Mapping[str, Edit] | None = None) -> tuple[Tensor, Tensor]:
    """Classes int64 [n] of the images, those of the trigger's label left out, and whether it sends each to its label, bool [n]."""
    rows, wanted = aimed_rows(data, trigger.label, subject.classes)
    if len(rows) == 0:
        return wanted, wanted.bool()
    return data.labels[rows], subject.predict(Split(data.stored[rows], wanted), edits, trigger.apply) == wanted


def distance(subject: Subject, trigger: Inverted, data: Split) -> float:
    """How far the trigger is from sending the images of other classes to its label: mean cross-entropy."""
    shown, total = aimed(data, trigger.label, subject.classes), 0.0
    with torch.no_grad(), subject.precision():
        for pixels, labels in shown.parts(subject.at_once(BATCH)):
            total += float(F.cross_entropy(subject.logits(trigger.apply(pixels)).float(), labels, reduction="sum"))
    return total / max(len(shown), 1)
