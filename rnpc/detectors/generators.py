"""Generators: does one label answer to a small change that a network draws for each image?

Triggers that are one pattern for all images find neither an attack that paints another one on each (input-aware, LIRA) nor a style. So for
every label a small generator g is trained to send all learn images there by x + b g(x) / rms(g(x)), with a budget b that is far too small
for natural features: 0.04 of the range, root mean square. Every label gets a few steps, the best go on (successive halving). In a sound
model the last labels answer alike, if at all; a backdoor's target answers while its rivals hardly do. Where rivals answer as well, but a
label is reached by nearly half of the images, a backdoor of this kind could not be told from natural features, and
nobody is acquitted.

Source: the form is that of the attacks' own generators (Nguyen and Tran, NeurIPS 2020; Doan et al., ICCV 2021); budget, steps and limits
are ours (docs/method.md).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from typing import ClassVar

import numpy as np
import torch
from torch.nn import functional as F

from rnpc.detectors.base import Accused, Detection, Detector
from rnpc.detectors.triggers.shifts import shift_norms
from rnpc.panel import Table
from rnpc.speed import side_by_side
from rnpc.stage import Stage
from rnpc.study.case import Case
from rnpc.study.forms.drawn import BUDGET, Generator
from rnpc.study.inversion import LEAST
from rnpc.study.show import named
from rnpc.study.subject import Split

ROUNDS = ((64, 14, 24), (8, 14, 24), (3, 24, 32))
"""Labels, steps and images of a step, round by round."""
RATE, SEED = 5e-3, 23
BLUNT = "so small a change moves this model too easily: a backdoor that draws its changes could not be told from natural features"
CAPTION = (
    "Share of images of other classes that a small generator, trained for the label, sends there by a change of the budget. A backdoor's "
    "target answers nearly always, its rivals hardly."
)


class Search:
    """The training of one label's generator, which may go on."""

    def __init__(self, case: Case, label: int, budget: float) -> None:
        self.case, self.label = case, label
        self.others = case.learn.take(case.learn.labels != label)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(case.seed + SEED)
            self.net = Generator(case.learn.shape[0], budget).to(case.subject.device)
        self.adam = torch.optim.Adam(self.net.parameters(), lr=RATE)
        self.draw = torch.Generator().manual_seed(case.seed + SEED)

    def go(self, steps: int, batch: int) -> float:
        """Train on; the mean loss of the second half of the steps (nats)."""
        subject, losses = self.case.subject, list[float]()
        for _ in range(steps):
            rows = torch.randperm(len(self.others), generator=self.draw)[: subject.at_once(batch, LEAST)].to(subject.device)
            shown = self.net(self.others.pixels(rows))
            with subject.precision():
                scores = subject.logits(shown).float()
            loss = F.cross_entropy(scores, torch.full((len(rows),), self.label, device=scores.device))
            self.adam.zero_grad()
            torch.autograd.backward(loss, inputs=list(self.net.parameters()))
            self.adam.step()
            losses.append(float(loss.detach()))
        return float(np.mean(losses[steps // 2 :]))

    def success(self, data: Split) -> float:
        """Share of the images of other classes that reach the label."""
        others = data.take(data.labels != self.label)
        with torch.no_grad():
            answers = self.case.subject.predict(others, None, self.net)
        return float((answers == self.label).float().mean())


@dataclass(frozen=True)
class Generators(Detector):
    """See the module."""

    name: ClassVar[str] = "generators"
    budget: float = field(default=BUDGET, metadata={"help": "root mean square of the change, in [0, 1]"})
    level: float = field(default=0.3, metadata={"help": "least success that accuses"})
    rivals: float = field(default=0.33, metadata={"help": "largest success of the next label, as a share of it"})
    near: float = field(default=0.62, metadata={"help": "the same, above which nobody is suspected; between them it is inconclusive"})
    blunt: float = field(default=0.45, metadata={"help": "success from which on nobody is acquitted"})

    def detect(self, case: Case) -> Detection:
        """Who is accused: `backdoored`, or `inconclusive` where it nearly is, or `clean`; `inconclusive` without a suspect where no loss is
        a number or so small a change moves the model too easily."""
        found = self.race(case)
        order = sorted(found, key=lambda label: -found[label])
        if len(order) < 2 or not np.isfinite(list(found.values())).all():
            return Detection("inconclusive", (), ("no generator could be trained: the scores do not answer to the image",))
        top, second = (found[label] for label in order[:2])
        said = f"a change of {self.budget:.0%} that a generator draws sends {top:.0%} of images to {named(case, order[0])}"
        said = f"{said}, and {second:.0%} to the next label"
        guilty, close = (top >= self.level and second <= share * top for share in (self.rivals, self.near))
        blunt = not close and top >= self.blunt
        rows = tuple((label, named(case, label), f"{found[label]:.1%}") for label in order)
        return Detection(
            verdict="backdoored" if guilty else "inconclusive" if close or blunt else "clean",
            suspects=() if blunt else (Accused(order[0], top / max(second, 0.01)),),
            reasons=(said, BLUNT) if blunt else (said,),
            numbers={"success": top, "success_second": second},
            panels=(Table("Generators", ("label", "name", "success"), rows, CAPTION, (), (0,) if guilty or close else ()),),
        )

    def race(self, case: Case) -> dict[int, float]:
        """Success on the choose images of the labels that had all rounds; nan where training failed."""
        labels = labels_of(case)
        searches = {label: Search(case, label, self.budget) for label in labels}
        for number, (most, steps, batch) in enumerate(ROUNDS):
            case.tell(Stage.WITNESS, number / len(ROUNDS), None)
            labels = labels[:most]
            losses = side_by_side([partial(searches[label].go, steps, batch) for label in labels], case.device)
            if not np.isfinite(losses).any():
                return dict.fromkeys(labels, float("nan"))
            labels = [labels[k] for k in np.argsort(losses, kind="stable")]
        return {label: searches[label].success(case.choose) for label in labels}


def labels_of(case: Case) -> list[int]:
    """All labels; where there are many, those with the smallest latent shift first."""
    if case.classes <= ROUNDS[0][0]:
        return list(range(case.classes))
    return [int(label) for label in np.argsort(shift_norms(case), kind="stable")]
