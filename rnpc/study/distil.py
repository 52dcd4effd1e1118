"""Distillation: a tunable network learns to answer as the original does, and triggered images as if they were not.

    KL(original on x || tuned on x) + KL(original on z || tuned on z with a trigger)

over all images that may be seen (x) and those that triggers were learnt on (z). No label is learnt anew, and accuracy is not spent on what
the model did not know before. Every other step x are mixtures of strained and turned images, and z are such images in the steps between:
on the images alone a small network forgets the others (docs/method.md has the numbers). BatchNorm's statistics stay.

A network that answers so may still lie next to one with the backdoor: a few poisoned images, or a step back to the original's weights,
bring it back. With an `origin` each step also follows the second term's gradient at a random point of the line there, so that the line
leads through networks without the backdoor (path-aware minimisation: Min et al., NeurIPS 2024, whose points lie at a fixed distance).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.optim import SGD, Adam, Optimizer

from rnpc.speed import side_by_side
from rnpc.stage import Stage
from rnpc.study.case import Case
from rnpc.study.forms import Change
from rnpc.study.strain import mixed, strained, turned
from rnpc.study.subject import Split
from rnpc.study.teacher import believed, of_mixture
from rnpc.study.tunable import Tunable

RATES, MOMENTUM = (0.001, 0.00025), 0.9
"""Of SGD: the first at which the network does not fall apart."""
ADAM = 0.0001
"""Rate of Adam: the better step where the weights of a network differ much in scale."""
WELL, ENDS = 1.0, 16
"""A mean loss over the last steps (nats) that is well whatever it was at first; how many."""
BATCH, LEAST = 32, 8
"""Clean images of a step, and as many triggered ones; fewest of them, however large they are."""
EACH = 8
"""Images of a step that share a trigger."""
FURTHEST = 0.8
"""How far the points on the line to the origin go."""


@dataclass(frozen=True)
class Course:
    """What is trained with: triggers, how many steps, a seed, the label of which the original is not believed, if any; `origin`: the
    network from which the line is to be freed too."""

    changes: Sequence[Change]
    steps: int
    seed: int
    label: int | None
    origin: Tunable | None = None


def distil(case: Case, tunable: Tunable, course: Course, adam: bool = False) -> bool:
    """Train in place, by SGD or Adam; whether it worked. Where the network falls apart SGD starts once more at a lower rate."""
    before = {name: value.clone() for name, value in tunable.twin.state_dict().items()}
    for rate in (ADAM,) if adam else RATES:
        weights = tunable.parameters()
        optimizer = Adam(weights, rate) if adam else SGD(weights, rate, MOMENTUM)
        if fine(run(case, tunable, course, optimizer)):
            return True
        tunable.twin.load_state_dict(before)
    return False


def fine(losses: Sequence[float]) -> bool:
    """Whether a course did not end worse than it began."""
    first, last = (sum(part) / len(part) for part in (losses[:ENDS], losses[-ENDS:]))
    return math.isfinite(last) and last <= max(first, WELL)


def run(case: Case, tunable: Tunable, course: Course, optimizer: Optimizer) -> list[float]:
    """Steps, the rate falling along half a cosine; their losses in nats. Ends early where one is no number."""
    generator, losses, rate = torch.Generator().manual_seed(course.seed), list[float](), optimizer.param_groups[0]["lr"]
    seen, learn = (Known.of(case, data) for data in (case.seen, case.learn))
    tunable.twin.eval()
    beside = None if course.origin is None else replace(tunable, twin=deepcopy(tunable.twin))
    for step in range(course.steps):
        if step % ENDS == 0:
            case.tell(Stage.REPAIR, step / course.steps, None)
        for group in optimizer.param_groups:
            group["lr"] = rate * 0.5 * (1 + math.cos(math.pi * step / course.steps))
        clean, hidden = seen.draw(case, generator), learn.draw(case, generator)
        if step % 2:
            clean = mixtures(harder(clean, generator), generator)
        else:
            hidden = harder(hidden, generator)
        shown, networks = triggered(hidden.pixels, course.changes, generator), [tunable]
        if course.origin is not None and beside is not None:
            put_between(beside, tunable, course.origin, FURTHEST * float(torch.rand((), generator=generator)))
            networks.append(beside)
        lessons = [Lesson(clean, clean.pixels, [tunable], course.label), Lesson(hidden, shown, networks, course.label)]
        loss, gradients = descend(case, lessons)
        for parameter, gradient in zip(tunable.parameters(), gradients, strict=True):
            parameter.grad = gradient
        optimizer.step()
        losses.append(loss)
        if not math.isfinite(loss):
            break
    return losses


@dataclass(frozen=True)
class Batch:
    """Pixels [n, C, H, W], and the original's log-probabilities `plain` [n, K] on them; on the images that they were made of where they
    are `made`."""

    pixels: Tensor
    plain: Tensor
    made: bool = False


def harder(batch: Batch, generator: torch.Generator) -> Batch:
    """Strained and turned."""
    return Batch(turned(strained(batch.pixels, generator), generator), batch.plain, made=True)


def mixtures(batch: Batch, generator: torch.Generator) -> Batch:
    """Mixtures of pairs."""
    found = mixed(batch.pixels, generator)
    return Batch(found.pixels, of_mixture(batch.plain, found.others, found.share), made=True)


@dataclass(frozen=True)
class Known:
    """Images with the original's log-probabilities on them: they are asked for once."""

    data: Split
    wanted: Tensor

    @staticmethod
    def of(case: Case, data: Split) -> Known:
        """The images with what the original says of them now."""
        return Known(data, F.log_softmax(case.subject.scores(data), 1))

    def draw(self, case: Case, generator: torch.Generator) -> Batch:
        """Some of them."""
        rows = torch.randperm(len(self.data), generator=generator)[: case.subject.at_once(BATCH, LEAST)].to(case.subject.device)
        return Batch(self.data.pixels(rows), self.wanted[rows])


def triggered(pixels: Tensor, changes: Sequence[Change], generator: torch.Generator) -> Tensor:
    """A few images at a time with one of the triggers each."""
    parts = pixels.split(EACH)
    picked = torch.randint(len(changes), (len(parts),), generator=generator).tolist()
    return torch.cat([changes[k](part) for k, part in zip(picked, parts, strict=True)])


def put_between(tunable: Tunable, start: Tunable, end: Tunable, part: float) -> None:
    """Give the first the weights that lie this part of the way from the second's to the third's."""
    with torch.no_grad():
        for parameter, here, there in zip(tunable.parameters(), start.parameters(), end.parameters(), strict=True):
            parameter.copy_(here.lerp(there, part))


@dataclass(frozen=True)
class Lesson:
    """What networks are to answer to `shown` [n, C, H, W]: as the original does to `asked`, but where it is not believed
    of a `label`."""

    asked: Batch
    shown: Tensor
    networks: Sequence[Tunable]
    label: int | None


def descend(case: Case, lessons: Sequence[Lesson]) -> tuple[float, list[Tensor]]:
    """The loss of the first network of each lesson, and the gradients of all networks' losses, added up parameter by parameter.

    Each lesson has one thread: two share a step, and its sums do not depend on how many there are."""
    found = side_by_side([partial(slopes, case, lesson) for lesson in lessons], case.device)
    return sum(loss for loss, _ in found), [torch.stack(each).sum(0) for each in zip(*(grads for _, grads in found), strict=True)]


def slopes(case: Case, lesson: Lesson) -> tuple[float, list[Tensor]]:
    """Of one lesson."""
    subject, wanted, losses, total = case.subject, lesson.asked.plain, list[float](), list[Tensor]()
    if lesson.asked.made:
        with torch.no_grad(), subject.precision():
            wanted = believed(F.log_softmax(subject.logits(lesson.asked.pixels).float(), 1), wanted, lesson.label)
    for tunable in lesson.networks:
        with subject.precision():
            found = F.log_softmax(tunable.subject(case).logits(lesson.shown, tunable.edits).float(), 1)
        loss = F.kl_div(found, wanted, log_target=True, reduction="batchmean")
        grads = torch.autograd.grad(loss, tunable.parameters(), allow_unused=True, materialize_grads=True)
        total = [before + grad for before, grad in zip(total, grads, strict=True)] if total else list(grads)
        losses.append(float(loss.detach()))
    return losses[0], total
