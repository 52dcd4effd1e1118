"""Distillation: a tunable network learns to answer as the original does, and triggered images as if they were not.

    KL(original on x || tuned on x) + KL(original on z || tuned on z with a trigger)

over all images that may be seen (x) and those that triggers were learnt on (z). No label is learnt anew, and accuracy is not spent on what
the model did not know before. Every other step x are mixtures of strained and turned images, and z are such images in the steps between:
on the images alone a small network forgets the others (docs/method.md has the numbers). BatchNorm's statistics stay.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.optim import SGD, Adam, Optimizer

from rnpc.speed import one_thread
from rnpc.stage import Stage
from rnpc.study.case import Case
from rnpc.study.forms import Change
from rnpc.study.strain import mixed, strained, turned
from rnpc.study.subject import Split
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


def distil(case: Case, tunable: Tunable, changes: Sequence[Change], steps: int, seed: int, adam: bool = False) -> bool:
    """Train in place, by SGD or Adam; whether it worked. Where the network falls apart SGD starts once more at a lower rate."""
    before = {name: value.clone() for name, value in tunable.twin.state_dict().items()}
    for rate in (ADAM,) if adam else RATES:
        weights = tunable.parameters()
        if fine(course(case, tunable, changes, Adam(weights, rate) if adam else SGD(weights, rate, MOMENTUM), steps, seed)):
            return True
        tunable.twin.load_state_dict(before)
    return False


def fine(losses: Sequence[float]) -> bool:
    """Whether a course did not end worse than it began."""
    first, last = (sum(part) / len(part) for part in (losses[:ENDS], losses[-ENDS:]))
    return math.isfinite(last) and last <= max(first, WELL)


def course(case: Case, tunable: Tunable, changes: Sequence[Change], optimizer: Optimizer, steps: int, seed: int) -> list[float]:
    """Steps, the rate falling along half a cosine; their losses in nats. Ends early where one is no number."""
    generator, losses, rate = torch.Generator().manual_seed(seed), list[float](), optimizer.param_groups[0]["lr"]
    tunable.twin.eval()
    for step in range(steps):
        if step % ENDS == 0:
            case.tell(Stage.REPAIR, step / steps, None)
        for group in optimizer.param_groups:
            group["lr"] = rate * 0.5 * (1 + math.cos(math.pi * step / steps))
        clean, hidden = drawn(case, case.seen, generator), drawn(case, case.learn, generator)
        if step % 2:
            clean = mixed(turned(strained(clean, generator), generator), generator)
        else:
            hidden = turned(strained(hidden, generator), generator)
        optimizer.zero_grad()
        losses.append(descend(case, tunable, clean, hidden, triggered(hidden, changes, generator)))
        optimizer.step()
        if not math.isfinite(losses[-1]):
            break
    return losses


def drawn(case: Case, data: Split, generator: torch.Generator) -> Tensor:
    """Pixels of some images."""
    rows = torch.randperm(len(data), generator=generator)[: case.subject.at_once(BATCH, LEAST)]
    return data.pixels(rows.to(case.subject.device))


def triggered(pixels: Tensor, changes: Sequence[Change], generator: torch.Generator) -> Tensor:
    """A few images at a time with one of the triggers each."""
    parts = pixels.split(EACH)
    picked = torch.randint(len(changes), (len(parts),), generator=generator).tolist()
    return torch.cat([changes[k](part) for k, part in zip(picked, parts, strict=True)])


def descend(case: Case, tunable: Tunable, clean: Tensor, hidden: Tensor, shown: Tensor) -> float:
    """The gradient of the loss in the parameters; the loss. `shown` is `hidden` with triggers."""
    subject, tuned = case.subject, tunable.subject(case)
    with torch.no_grad(), subject.precision():
        wanted = F.log_softmax(subject.logits(torch.cat([clean, hidden])).float(), 1)
    with subject.precision():
        found = F.log_softmax(tuned.logits(torch.cat([clean, shown]), tunable.edits).float(), 1)
    apart = F.kl_div(found, wanted, log_target=True, reduction="none").sum(1)
    loss = apart[: len(clean)].mean() + apart[len(clean) :].mean()
    with one_thread(subject.fast):
        loss.backward()
    return float(loss.detach())
