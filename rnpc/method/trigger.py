"""Trigger inversion: a change of the image that sends images to one label, in one of the forms of `forms`.

`invert` looks for the cheapest one that works on nearly all images. Adam minimises cross-entropy + lambda * cost; lambda rises by 30 %
while at least 97 % of the batch fall for the trigger and sinks otherwise (the schedule of Neural Cleanse, Wang et al., S&P 2019, in one
run). The cheapest trigger that held over several batches is kept.

`strongest` fixes the cost instead and looks for the trigger that works on most images. What is left of a backdoor in a cut model shows
there: a trigger that still works on a third of the images is out of the first search's sight, since it never works on nearly all. Here
lambda rises while the trigger costs more than the budget; what is left above it at the end is scaled away.

The label may be `NEXT`: every image goes to the label after its own (all-to-all backdoors).

These triggers are the method's own surrogates: no attack, no triggered image and no test label is ever seen.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from rnpc.method.forms import RATES, SCALES, Change, Form, Parts
from rnpc.method.subject import BATCH, Split, Subject
from rnpc.twin.module import Edit

NEXT = -1
"""The label after an image's own, modulo the number of classes."""
GOAL = 0.97
HELD = 8
RISE, FALL, FIRST_WEIGHT = 1.3, 1.4, 1e-2
LAST_RATE = 0.05


@dataclass(frozen=True)
class Effort:
    """How hard an inversion tries: Adam steps and images a step."""

    steps: int = 64
    batch: int = 16


@dataclass(frozen=True)
class Inverted:
    """A trigger for `label`, with its cost in the form's unit. `held`: whether it worked on nearly all images it was learnt on."""

    label: int
    form: Form
    cost: float
    change: Change
    held: bool = True

    def apply(self, pixels: Tensor) -> Tensor:
        """Triggered pixels in [0, 1]."""
        return self.change(pixels)


def aimed(data: Split, label: int, classes: int) -> Split:
    """The images that are not where the trigger is to send them, each with the label that it is to get."""
    if label == NEXT:
        return Split(data.pixels, (data.labels + 1) % classes)
    others = data.without(label)
    return Split(others.pixels, torch.full_like(others.labels, label))


def invert(subject: Subject, label: int, form: Form, *, seed: int, effort: Effort, edits: Mapping[str, Edit] | None = None) -> Inverted:
    """The cheapest trigger for `label` found on the learn images, in the model with `edits`."""
    data, generator = aimed(subject.learn, label, subject.classes), torch.Generator().manual_seed(seed)
    parts = Parts(form, data.pixels.shape[1:], generator, subject.device)
    adam = torch.optim.Adam(parts.leaves, lr=RATES[form], betas=(0.5, 0.9))
    weight, hits, best = FIRST_WEIGHT, deque[float](maxlen=HELD), None
    for step in range(effort.steps):
        change, cost = parts.change()
        now = Inverted(label, form, float(cost.detach()), change.detach())
        loss, hit = attempt(subject, data, change, generator, effort.batch, edits)
        adam.zero_grad()
        torch.autograd.backward(loss + weight * SCALES[form] * cost, inputs=parts.leaves)
        adam.step()
        hits.append(hit)
        weight = min(max(weight * RISE if hit >= GOAL else weight / FALL, 1e-5), 10.0)
        held = step >= effort.steps // 3 and sum(hits) / len(hits) >= GOAL - 0.01
        best = now if held and (best is None or now.cost < best.cost) else best
    return best if best is not None else Inverted(label, form, now.cost, now.change, held=False)


def strongest(
    subject: Subject, label: int, form: Form, budget: float, *, seed: int, effort: Effort, edits: Mapping[str, Edit] | None = None
) -> Inverted:
    """The trigger for `label` of at most this cost that works on most learn images, in the model with `edits`."""
    data, generator = aimed(subject.learn, label, subject.classes), torch.Generator().manual_seed(seed)
    parts = Parts(form, data.pixels.shape[1:], generator, subject.device)
    adam, weight = torch.optim.Adam(parts.leaves, lr=RATES[form], betas=(0.5, 0.9)), FIRST_WEIGHT
    for step in range(effort.steps):
        change, cost = parts.change()
        loss, _ = attempt(subject, data, change, generator, effort.batch, edits)
        adam.zero_grad()
        torch.autograd.backward(loss + weight * SCALES[form] * cost, inputs=parts.leaves)
        for group in adam.param_groups:
            group["lr"] = RATES[form] * min(1.0, 2 * (1 - step / effort.steps) + LAST_RATE)
        adam.step()
        weight = min(max(weight * RISE if float(cost.detach()) > budget else weight / FALL, 1e-5), 10.0)
    change, cost = parts.change(budget)
    return Inverted(label, form, float(cost.detach()), change.detach())


def attempt(
    subject: Subject, data: Split, change: Change, generator: torch.Generator, batch: int, edits: Mapping[str, Edit] | None
) -> tuple[Tensor, float]:
    """Loss and share of hits of a change on a random batch of aimed images."""
    rows = torch.randint(len(data), (batch,), generator=generator).to(subject.device)
    wanted = data.labels[rows]
    with subject.precision():
        scores = subject.logits(change(data.pixels[rows]), edits).float()
    return F.cross_entropy(scores, wanted), float((scores.argmax(1) == wanted).float().mean())


def missed_next(subject: Subject, trigger: Inverted, data: Split) -> float:
    """Share of the images that a trigger for `NEXT` fails to send there: the mean over classes, since a change that sends everything to one
    label serves the images of the class before it."""
    found = aimed(data, NEXT, subject.classes)
    hit = (subject.predict(trigger.apply(found.pixels)) == found.labels).float()
    return 1 - float(torch.stack([hit[data.labels == label].mean() for label in data.labels.unique()]).mean())


def success(subject: Subject, trigger: Inverted, data: Split, edits: Mapping[str, Edit] | None = None) -> float:
    """Share of the images, those of its label left out, that the trigger sends to its label."""
    found = aimed(data, trigger.label, subject.classes)
    if len(found) == 0:
        return float("nan")
    return float((subject.predict(trigger.apply(found.pixels), edits) == found.labels).float().mean())


def distance(subject: Subject, trigger: Inverted, data: Split) -> float:
    """How far the trigger is from sending the images of other classes to its label: mean cross-entropy."""
    found = aimed(data, trigger.label, subject.classes)
    with torch.no_grad(), subject.precision():
        parts = zip(trigger.apply(found.pixels).split(BATCH), found.labels.split(BATCH), strict=True)
        total = sum(float(F.cross_entropy(subject.logits(pixels).float(), labels, reduction="sum")) for pixels, labels in parts)
    return total / max(len(found), 1)
