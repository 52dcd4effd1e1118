"""Trigger inversion: the cheapest change of an image that sends every image to one label.

Two forms, each with its cost: `additive`, x + d, cost |d| (L2, in units of the [0, 1] image); `patch`, (1 - m) x + m p, cost sum m
(pixels). Adam minimises cross-entropy + lambda * cost; lambda rises by 30 % while at least 97 % of the batch fall for the trigger and
sinks otherwise (the schedule of Neural Cleanse, Wang et al., S&P 2019, in one run). The cheapest trigger that held over several batches
is kept.

These triggers are the method's own surrogates: no attack, no triggered image and no test label is ever seen.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from rnpc.method.subject import Split, Subject
from rnpc.twin.module import Edit

Form = Literal["additive", "patch"]
FORMS: tuple[Form, ...] = ("additive", "patch")
GOAL = 0.97
HELD = 8
RATES: dict[Form, float] = {"additive": 0.045, "patch": 0.4}
RISE, FALL, FIRST_WEIGHT = 1.3, 1.4, 1e-2


@dataclass(frozen=True)
class Effort:
    """How hard an inversion tries: Adam steps and images a step."""

    steps: int = 64
    batch: int = 20


@dataclass(frozen=True)
class Inverted:
    """A trigger for `label`. `shift` [1, C, H, W] is added after the image was weakened by `keep` [1, 1, H, W] (ones where additive)."""

    label: int
    form: Form
    cost: float
    keep: Tensor
    shift: Tensor

    def apply(self, pixels: Tensor) -> Tensor:
        """Triggered pixels in [0, 1]."""
        return (pixels * self.keep + self.shift).clamp(0, 1)


class Parts:
    """The free parameters of one form."""

    def __init__(self, form: Form, shape: torch.Size, generator: torch.Generator, device: torch.device) -> None:
        channels, height, width = shape
        self.form = form
        noise = torch.randn(1, channels, height, width, generator=generator)
        if form == "additive":
            self.leaves = [(noise * 0.01).to(device).requires_grad_()]
        else:
            mask = torch.full((1, 1, height, width), -2.0, device=device)
            self.leaves = [mask.requires_grad_(), (noise * 0.1).to(device).requires_grad_()]

    def trigger(self) -> tuple[Tensor, Tensor, Tensor]:
        """(keep, shift, cost)."""
        if self.form == "additive":
            shift = self.leaves[0]
            return torch.ones_like(shift[:, :1]), shift, shift.norm()
        mask = torch.sigmoid(self.leaves[0])
        return 1 - mask, mask * torch.sigmoid(self.leaves[1]), mask.sum()


def invert(subject: Subject, label: int, form: Form, *, seed: int, effort: Effort, edits: Mapping[str, Edit] | None = None) -> Inverted:
    """The cheapest trigger for `label` found on the learn images of other classes, in the model with `edits`."""
    data = subject.learn.without(label)
    generator = torch.Generator().manual_seed(seed)
    parts = Parts(form, data.pixels.shape[1:], generator, subject.device)
    adam = torch.optim.Adam(parts.leaves, lr=RATES[form], betas=(0.5, 0.9))
    weight, hits, best = FIRST_WEIGHT, deque[float](maxlen=HELD), None
    for step in range(effort.steps):
        keep, shift, cost = parts.trigger()
        now = Inverted(label, form, float(cost.detach()), keep.detach(), shift.detach().clone())
        loss, hit = attempt(subject, data, label, (keep, shift), generator, effort.batch, edits)
        adam.zero_grad()
        torch.autograd.backward(loss + weight * cost, inputs=parts.leaves)
        adam.step()
        hits.append(hit)
        weight = min(max(weight * RISE if hit >= GOAL else weight / FALL, 1e-5), 10.0)
        held = step >= effort.steps // 3 and sum(hits) / len(hits) >= GOAL - 0.01
        best = now if held and (best is None or now.cost < best.cost) else best
    return best if best is not None else now


def attempt(
    subject: Subject,
    data: Split,
    label: int,
    trigger: tuple[Tensor, Tensor],
    generator: torch.Generator,
    batch: int,
    edits: Mapping[str, Edit] | None,
) -> tuple[Tensor, float]:
    """Loss and share of hits of a trigger on a random batch."""
    rows = torch.randint(len(data), (batch,), generator=generator).to(subject.device)
    with subject.precision():
        scores = subject.logits((data.pixels[rows] * trigger[0] + trigger[1]).clamp(0, 1), edits).float()
    wanted = torch.full((batch,), label, device=subject.device)
    return F.cross_entropy(scores, wanted), float((scores.argmax(1) == label).float().mean())


def success(subject: Subject, trigger: Inverted, data: Split, edits: Mapping[str, Edit] | None = None) -> float:
    """Share of images of other classes that the trigger sends to its label."""
    others = data.without(trigger.label)
    if len(others) == 0:
        return float("nan")
    return float((subject.predict(trigger.apply(others.pixels), edits) == trigger.label).float().mean())
