"""MM-BD: does one label's score rise abnormally far above all others, over images that nobody took?

For each label the margin of its score over the best other one is maximised over images in [0, 1], from noise, by SGD. A backdoor lets its
target rise higher than anything natural does. To the largest margins of all labels but the top one a Gamma distribution G is fitted; were
the top one of their kind, the largest of K would come out as high with probability p = 1 - G(max)^K. It needs no image, and shares nothing
with triggers.

Source: Wang et al., IEEE S&P 2024 (arXiv 2205.06900): 300 steps at rate 0.01 with momentum 0.2, p <= 0.05, and 30 images a label. Here they
are 6, of which half are given up after a tenth of the steps and all but the best after a fifth: on a ResNet-18 of 43 labels that lost 4 %
of the margins at a third of the work. Scores are taken before any Softmax. A label that noise resembles by nature stands out as well (8
among digits).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from itertools import count
from typing import ClassVar

import numpy as np
import torch
from scipy import stats
from torch import Tensor

from rnpc.detectors.base import Accused, Detection, Detector
from rnpc.panel import Histogram, Panel, Table
from rnpc.speed import side_by_side
from rnpc.stage import Stage
from rnpc.study import activations
from rnpc.study.case import Case
from rnpc.study.show import named
from rnpc.study.subject import BATCH

RATE, MOMENTUM = 1e-2, 0.2
LEAST = 4
"""Fewest labels to which a distribution is fitted, the top one aside."""
HALF, BEST = 0.1, 0.2
"""Shares of the steps after which half of a label's images go on, and one."""
PAUSE, STILL = 20, 1e-3
"""The ascent ends where no margin grew by more than this share in so many steps."""
CAPTION = (
    "How far a label's score can be driven above all others, over images made from noise. A backdoor's target often stands far out. Labels "
    "by falling margin."
)


@dataclass(frozen=True)
class MmBd(Detector):
    """See the module."""

    name: ClassVar[str] = "mm-bd"
    images: int = field(default=6, metadata={"help": "noise images a label (published: 30)"})
    steps: int = field(default=300, metadata={"help": "steps of ascent"})
    level: float = field(default=0.05, metadata={"help": "largest p-value that convicts"})

    def detect(self, case: Case) -> Detection:
        """Who is accused; `inconclusive` where there are too few labels, or the ascent failed."""
        if case.classes <= LEAST:
            return failed(f"{case.classes} labels are too few to tell an abnormal one by: {LEAST + 1} are needed")
        found = margins(case, self.images, self.steps)
        if not np.isfinite(found).all():
            return failed(f"the scores of {int((~np.isfinite(found)).sum())} labels do not answer to the image: no gradient, or no number")
        label, p = p_value(found)
        if not np.isfinite(p):
            return failed("the margins of the labels follow no distribution: too many are alike, or not above zero", panels(case, found))
        top, second = np.sort(found)[:-3:-1]
        said = f"the score of {named(case, label)} can be driven {top:.3g} above all others, the next label's {second:.3g} (p = {p:.2g})"
        return Detection(
            verdict="backdoored" if p <= self.level else "clean",
            suspects=(Accused(label, float(-np.log10(max(p, 1e-300))), p),),
            reasons=(said,),
            numbers={"p_value": p, "margin": float(top), "margin_second": float(second)},
            panels=panels(case, found),
        )


def failed(why: str, panels: tuple[Panel, ...] = ()) -> Detection:
    """A measurement that failed acquits nobody."""
    return Detection("inconclusive", (), (why,), panels=panels)


def margins(case: Case, images: int = 6, steps: int = 300) -> np.ndarray:
    """The largest margin found for each label, float64 [K]; nan where no image could be moved. Labels are worked on side by side."""
    some = max(1, case.subject.at_once(BATCH) // images)
    parts, done = torch.arange(case.classes).split(some), count(1)

    def work(labels: Tensor) -> np.ndarray:
        found = ascent(case, labels, images, steps)
        case.tell(Stage.WITNESS, next(done) / len(parts), None)
        return found

    case.tell(Stage.WITNESS, 0.0, None)
    return np.concatenate(side_by_side([partial(work, part) for part in parts], case.device))


def ascent(case: Case, labels: Tensor, images: int, steps: int) -> np.ndarray:
    """The same for some labels, int64 [k]."""
    start = torch.stack([noise(case, int(label), images) for label in labels]).to(case.subject.device)
    pixels, speed, moved = start, torch.zeros_like(start), torch.zeros(len(labels), dtype=torch.bool)
    best = torch.full(start.shape[:2], float("-inf"))
    before = best.amax(1)
    for step in range(steps):
        margin, slope = climb(case, pixels, labels)
        best = torch.maximum(best, margin)
        moved |= (slope != 0).flatten(1).any(1).cpu()
        if step and step % PAUSE == 0:
            now = best.amax(1)
            if bool((now - before <= STILL * now.abs()).all()):
                break
            before = now
        speed = MOMENTUM * speed + slope
        pixels = (pixels + RATE * speed).clamp(0, 1)
        if step + 1 in (round(HALF * steps), round(BEST * steps)):
            left = 1 if step + 1 >= round(BEST * steps) else -(-images // 2)
            rows = torch.argsort(best, dim=1, descending=True, stable=True)[:, :left]
            best, pixels, speed = (pick(value, rows) for value in (best, pixels, speed))
    return np.where(moved.numpy(), best.amax(1).double().numpy(), np.nan)


def pick(value: Tensor, rows: Tensor) -> Tensor:
    """Of [k, n, ...] the rows [k, m] of each label."""
    return value[torch.arange(len(value))[:, None], rows.to(value.device)]


def noise(case: Case, label: int, images: int) -> Tensor:
    """Pixels [images, C, H, W] to start from, a label's own whatever other labels are worked on with it."""
    generator = torch.Generator().manual_seed(case.seed * 65_537 + label)
    return torch.rand(images, *case.learn.shape, generator=generator)


def climb(case: Case, pixels: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Margins [k, n] (on the processor) of pixels [k, n, C, H, W] for their labels, and the gradients in the pixels."""
    flat = pixels.flatten(0, 1).detach().requires_grad_()
    wanted = labels.to(flat.device).repeat_interleave(pixels.shape[1])
    with torch.enable_grad(), case.subject.precision():
        margin = activations.margins(case.subject.logits(flat).float(), wanted)
    (slope,) = torch.autograd.grad(margin.sum(), flat)
    return margin.detach().view(pixels.shape[:2]).cpu(), slope.view(pixels.shape)


def p_value(margins: np.ndarray) -> tuple[int, float]:
    """The label of the largest margin of [K], and p = 1 - G(max)^K; nan where fewer than `LEAST` others are above zero, or these are
    alike."""
    label = int(margins.argmax())
    rest = np.delete(margins, label)
    rest = rest[rest > 0]
    if len(rest) < LEAST or np.ptp(rest) <= 1e-9 * rest.max() or margins[label] <= 0:
        return label, float("nan")
    shape, _, scale = stats.gamma.fit(rest, floc=0)
    above = float(stats.gamma.sf(margins[label], shape, scale=scale))
    return label, 1.0 if above >= 1 else float(-np.expm1(len(margins) * np.log1p(-above)))


def panels(case: Case, margins: np.ndarray) -> tuple[Table, Histogram]:
    """The labels by margin, and how margins are spread."""
    order = np.argsort(-margins, kind="stable")
    rows = tuple((int(label), named(case, int(label)), float(margins[label])) for label in order)
    table = Table("Margins of the labels", ("label", "name", "largest margin"), rows, CAPTION, ("text", "text", "number"), accused=(0,))
    values = {"other labels": margins[order[1:]], "the top label": margins[order[:1]]}
    words = "The top label stands apart where it is abnormal."
    return table, Histogram("Margins over noise images", "largest margin", values, caption=words)
