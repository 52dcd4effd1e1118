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
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

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
FURTHEST = 0.8
"""How far the points on the line to the origin go."""


def distil(
    case: Case, tunable: Tunable, changes: Sequence[Change], steps: int, seed: int, adam: bool = False, origin: Tunable | None = None
) -> bool:
    """Train in place, by SGD or Adam; whether it worked. Where the network falls apart SGD starts once more at a lower rate. `origin`: the
    network from which the line is to be freed too."""
    before = {name: value.clone() for name, value in tunable.twin.state_dict().items()}
    for rate in (ADAM,) if adam else RATES:
        weights = tunable.parameters()
        optimizer = Adam(weights, rate) if adam else SGD(weights, rate, MOMENTUM)
        if fine(course(case, tunable, changes, optimizer, steps, seed, origin)):
            return True
        tunable.twin.load_state_dict(before)
    return False


def fine(losses: Sequence[float]) -> bool:
    """Whether a course did not end worse than it began."""
    first, last = (sum(part) / len(part) for part in (losses[:ENDS], losses[-ENDS:]))
    return math.isfinite(last) and last <= max(first, WELL)


def course(
    case: Case, tunable: Tunable, changes: Sequence[Change], optimizer: Optimizer, steps: int, seed: int, origin: Tunable | None = None
) -> list[float]:
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
        shown = triggered(hidden, changes, generator)
        losses.append(descend(case, tunable, (clean, clean), (hidden, shown)))
        if origin is not None:
            with towards(tunable, origin, FURTHEST * float(torch.rand((), generator=generator))):
                descend(case, tunable, (hidden, shown))
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


@contextmanager
def towards(tunable: Tunable, origin: Tunable, part: float) -> Iterator[None]:
    """The network this part of the way to the origin's weights, while this lasts; gradients stay."""
    own = [parameter.detach().clone() for parameter in tunable.parameters()]
    with torch.no_grad():
        for parameter, there in zip(tunable.parameters(), origin.parameters(), strict=True):
            parameter.lerp_(there, part)
    yield
    with torch.no_grad():
        for parameter, before in zip(tunable.parameters(), own, strict=True):
            parameter.copy_(before)


def descend(case: Case, tunable: Tunable, *pairs: tuple[Tensor, Tensor]) -> float:
    """Add the gradient of the loss in the parameters; the loss. Of each pair the original is asked on the first pixels [n, C, H, W], and
    the network is to answer so on the second."""
    subject, tuned = case.subject, tunable.subject(case)
    asked, shown = map(torch.cat, zip(*pairs, strict=True))
    with torch.no_grad(), subject.precision():
        wanted = F.log_softmax(subject.logits(asked).float(), 1)
    with subject.precision():
        found = F.log_softmax(tuned.logits(shown, tunable.edits).float(), 1)
    apart = F.kl_div(found, wanted, log_target=True, reduction="none").sum(1)
    loss = torch.stack([part.mean() for part in apart.split([len(pixels) for pixels, _ in pairs])]).sum()
    with one_thread(subject.fast):
        loss.backward()
    return float(loss.detach())
