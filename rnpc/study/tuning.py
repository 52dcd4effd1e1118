"""Tuning: SGD on the learn images in a `Tunable`, by a plain or a sharpness-aware step.

A sharpness-aware step (SAM) goes down by the gradient at w + e instead of at w, where e leads uphill as far as a ball allows. The adaptive
ball |e / |w|| <= rho is measured in the weights themselves, so that it does not change with their scale: elementwise
e = rho w^2 g / | |w| g |.

Sources: Foret et al., ICLR 2021 (SAM); Kwon et al., ICML 2021 (adaptive).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F
from torch.optim import SGD

from rnpc.panel import Curve, Line
from rnpc.speed import one_thread
from rnpc.stage import Stage
from rnpc.stats import drop_bound
from rnpc.study.case import Case
from rnpc.study.tunable import Tunable
from rnpc.twin import Twin

LEAST = 8
"""Images of a step at least, however large they are: BatchNorm's statistics are the batch's."""
TINY = 1e-12
Augment = Callable[[Tensor, torch.Generator], Tensor]
Gradient = Callable[[], tuple[float, float]]
"""Puts the batch's gradient into the parameters; loss and share of right answers."""
Step = Callable[[Tunable, Gradient, SGD], tuple[float, float]]


@dataclass(frozen=True)
class Schedule:
    """SGD over whole epochs. `smoothing` of labels; `cosine`: the rate falls to zero along half a cosine; `augment`: what is done to a
    batch."""

    epochs: int
    rate: float = 0.01
    batch: int = 64
    momentum: float = 0.9
    decay: float = 5e-4
    smoothing: float = 0.0
    cosine: bool = False
    augment: Augment | None = None


@dataclass(frozen=True)
class Epoch:
    """Mean loss (nats) and accuracy over an epoch's batches, each before its step."""

    loss: float
    accuracy: float


@dataclass(frozen=True)
class Judged:
    """The tuned network on the judge images, in pairs with the original: accuracies, drop, and the drop's upper 95 % bound."""

    before: float
    after: float
    drop: float
    bound: float


def plain(tunable: Tunable, gradient: Gradient, sgd: SGD) -> tuple[float, float]:
    """A step of SGD."""
    seen = gradient()
    sgd.step()
    return seen


def adaptive(rho: float, tunable: Tunable, gradient: Gradient, sgd: SGD) -> tuple[float, float]:
    """A step by the gradient at the top of the adaptive ball; BatchNorm's statistics follow the network itself alone."""
    seen = gradient()
    moved = [(p, p.detach().clone(), p.detach() * p.grad) for p in tunable.parameters() if p.grad is not None]
    with torch.no_grad():
        norm = torch.stack([scaled.norm() for _, _, scaled in moved]).norm()
        for p, before, scaled in moved:
            p.add_(before * scaled * (rho / (norm + TINY)))
    with held(tunable.twin):
        gradient()
    with torch.no_grad():
        for p, before, _ in moved:
            p.copy_(before)
    sgd.step()
    return seen


def sharpness_aware(rho: float) -> Step:
    """The adaptive step with that radius."""
    return partial(adaptive, rho)


@contextmanager
def held(twin: Twin) -> Iterator[None]:
    """BatchNorm's statistics are as before when this ends."""
    before = [buffer.clone() for buffer in twin.buffers()]
    yield
    for buffer, value in zip(twin.buffers(), before, strict=True):
        buffer.copy_(value)


def tune(case: Case, tunable: Tunable, schedule: Schedule, step: Step = plain) -> list[Epoch]:
    """Train in place; the course, epoch by epoch. Ends early where the loss is no number any more."""
    generator, course = torch.Generator().manual_seed(case.seed), list[Epoch]()
    sgd = SGD(tunable.parameters(), lr=schedule.rate, momentum=schedule.momentum, weight_decay=schedule.decay)
    tunable.twin.train()
    for epoch in range(schedule.epochs):
        case.tell(Stage.REPAIR, epoch / schedule.epochs, course[-1].accuracy if course else None)
        for group in sgd.param_groups:
            group["lr"] = schedule.rate * (0.5 * (1 + math.cos(math.pi * epoch / schedule.epochs)) if schedule.cosine else 1.0)
        batches = epoch_of(case, schedule, generator)
        seen = np.array([step(tunable, partial(gradient, case, tunable, schedule, *each), sgd) for each in batches])
        course.append(Epoch(*map(float, seen.mean(0))))
        if not math.isfinite(course[-1].loss):
            break
    tunable.twin.eval()
    return course


def epoch_of(case: Case, schedule: Schedule, generator: torch.Generator) -> Iterator[tuple[Tensor, Tensor]]:
    """The learn images in random batches of one size, those that are left over not shown this time."""
    size = min(case.subject.at_once(schedule.batch, LEAST), len(case.learn))
    order = torch.randperm(len(case.learn), generator=generator)
    for rows in order[: len(order) // size * size].to(case.subject.device).split(size):
        pixels = case.learn.pixels(rows)
        yield schedule.augment(pixels, generator) if schedule.augment else pixels, case.learn.labels[rows]


def gradient(case: Case, tunable: Tunable, schedule: Schedule, pixels: Tensor, labels: Tensor) -> tuple[float, float]:
    """The gradient of a batch's loss in all parameters; loss and accuracy."""
    subject = tunable.subject(case)
    with subject.precision():
        scores = subject.logits(pixels, tunable.edits).float()
    loss = F.cross_entropy(scores, labels, label_smoothing=schedule.smoothing)
    tunable.twin.zero_grad()
    with one_thread(subject.fast):
        loss.backward()
    return float(loss.detach()), float((scores.argmax(1) == labels).float().mean())


def judge(case: Case, tunable: Tunable) -> Judged:
    """Look at the judge images, once."""
    exact = case.exact()
    labels = case.judge.labels
    before = (exact.subject.predict(case.judge) == labels).cpu().numpy()
    after = (tunable.subject(exact).predict(case.judge, tunable.edits) == labels).cpu().numpy()
    return Judged(float(before.mean()), float(after.mean()), *drop_bound(before, after))


def course_panel(course: Sequence[Epoch]) -> Curve:
    """Accuracy on the images that are learnt on, over the epochs."""
    line = Line("accuracy", np.arange(1, len(course) + 1, dtype=float), np.array([epoch.accuracy for epoch in course]))
    caption = "On batches of the images that are learnt on, before each step; BatchNorm runs on the batch's statistics there."
    return Curve("Course of tuning", "epoch", "share of images", (line,), caption)
