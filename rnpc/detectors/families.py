"""Families: does a patch that anyone might use send images to one label?

Squares and checkers of a few sizes and colours, in one corner or in all of them, are shown as they are. Nothing is fitted and no gradient
is taken, so that this witness shares nothing with inverted triggers: a search can miss the corner in which the trigger sits, or find that
four grids cost as much as a natural feature; a look at each of them costs forward passes only. A sound model is hardly moved by what hides
no more than a corner, whichever label one asks for; a backdoor that answers to patches answers to some that are not its own.

Sinusoids and blends are not shown: they move sound models too (docs/method.md).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor

from rnpc.detectors.base import Accused, Detection, Detector
from rnpc.panel import Table
from rnpc.stage import Stage
from rnpc.study.case import Case
from rnpc.study.forms import Change
from rnpc.study.inversion import NEXT, Inverted
from rnpc.study.probes import SIDE, Probe, checkered, unit_of
from rnpc.study.show import named
from rnpc.study.subject import Split

SIDES = (2, 3, 4, 5, 7)
"""Sides of a patch, in 32nd parts of the image's shorter one; also the step in from the edge."""
COLOURS = {"white": (1, 1, 1), "black": (0, 0, 0), "red": (1, 0, 0), "green": (0, 1, 0), "blue": (0, 0, 1), "yellow": (1, 1, 0)}
ROWS = 5
LEAST_CLASSES = 3
"""With two, the label after an image's own is the other one, and a plain flip reaches it."""
CAPTION = (
    "Share of images of other classes that the best of the patches sends to the label. A backdoor's target answers nearly always, other "
    "labels hardly."
)


def patches(shape: torch.Size, device: torch.device) -> Iterator[Probe]:
    """Every patch for images of this shape [C, H, W]."""
    channels, height, width = shape
    unit, cell = min(height, width) / SIDE, unit_of(height, width)
    for side in sorted({max(1, round(unit * part)) for part in SIDES}):
        for where, corners in placed(height, width, side, max(1, round(unit))).items():
            mask, board = torch.zeros(2, 1, 1, height, width, device=device)
            for top, left in corners:
                mask[..., top : top + side, left : left + side] = 1.0
                board[..., top : top + side, left : left + side] = checkered(side, device, cell)
            for name, shown in patterns(mask, board, channels):
                yield Probe(f"{name} {side} x {side} {where}", Change(1 - mask, shown))


def placed(height: int, width: int, side: int, inset: int) -> dict[str, list[tuple[int, int]]]:
    """Where patches of that side go: top left pixels, by name; in each corner, a step away from it, and in all corners."""
    found = {}
    for step in (0, inset):
        tops, lefts = (step, height - side - step), (step, width - side - step)
        for row, top in zip(("top", "bottom"), tops, strict=True):
            for column, left in zip(("left", "right"), lefts, strict=True):
                found[f"at the {row} {column}{f', {step} in' if step else ''}"] = [(top, left)]
    return found | {"in all corners": [(top, left) for top in (0, height - side) for left in (0, width - side)]}


def patterns(mask: Tensor, board: Tensor, channels: int) -> Iterator[tuple[str, Tensor]]:
    """What is shown where the mask is one, [1, C or 1, H, W]."""
    yield from (("checker", board), ("inverse checker", mask - board))
    for name, colour in COLOURS.items():
        if channels == 3 or len(set(colour)) == 1:
            yield name, mask * torch.tensor(colour[:channels], dtype=mask.dtype, device=mask.device).view(1, -1, 1, 1)


@dataclass(frozen=True)
class Best:
    """A label's best patch and its success; the smallest of equals."""

    success: float
    patch: Probe | None = None

    @property
    def name(self) -> str:
        """What the patch is called."""
        return "no patch" if self.patch is None else self.patch.name


@dataclass(frozen=True)
class Families(Detector):
    """See the module."""

    name: ClassVar[str] = "families"
    level: float = field(default=0.75, metadata={"help": "least success that accuses"})
    rivals: float = field(default=0.5, metadata={"help": "largest success of the next label, as a share of it"})

    def detect(self, case: Case) -> Detection:
        """Who is accused: `backdoored` or `clean`. The best patch of an accused label is a trigger, at the cost of its pixels."""
        case.tell(Stage.WITNESS, None, None)
        found = self.best(case)
        order = sorted(found, key=lambda label: (-found[label].success, label))
        top, second = (found[label] for label in order[:2])
        said = f"a patch ({top.name}) sends {top.success:.0%} of images to {named(case, order[0])}"
        said = f"{said}, the best one for another label {second.success:.0%}"
        # No sound model sends each image to the label after its own; where a backdoor does, every label gets a share.
        guilty = top.success >= self.level and (order[0] == NEXT or second.success <= self.rivals * top.success)
        rows = tuple((n, named(case, n), found[n].name, f"{found[n].success:.1%}") for n in order[:ROWS])
        return Detection(
            verdict="backdoored" if guilty else "clean",
            suspects=(Accused(order[0], top.success / max(second.success, 0.01)),),
            reasons=(said,),
            numbers={"success": top.success, "success_second": second.success},
            triggers=(as_trigger(order[0], top.patch),) if guilty and top.patch is not None else (),
            reached=(top.success,) if guilty else (),
            panels=(Table("Patches as they are", ("label", "name", "best patch", "success"), rows, CAPTION, (), (0,) if guilty else ()),),
        )

    def best(self, case: Case) -> dict[int, Best]:
        """By label, and for the label after an image's own, what reaches it most on the choose images."""
        found = dict.fromkeys(range(case.classes), Best(0.0))
        if case.classes >= LEAST_CLASSES:
            found[NEXT] = Best(0.0)
        for patch in patches(case.learn.shape, case.subject.device):
            for label, success in reached(case, case.choose, patch.change).items():
                if label in found and success > found[label].success:
                    found[label] = Best(success, patch)
        return found


def as_trigger(label: int, patch: Probe) -> Inverted:
    """The patch as a trigger, which costs the pixels that it hides."""
    return Inverted(label, "patch", float((1 - patch.change.keep).sum()), patch.change)


def reached(case: Case, data: Split, change: Change) -> dict[int, float]:
    """By label, the share of images of other classes that go there; for NEXT of all images."""
    answers = case.subject.predict(data, None, change)
    found = {NEXT: float((answers == (data.labels + 1) % case.classes).float().mean())}
    for label in answers.unique().tolist():
        others = data.labels != label
        found[label] = float((answers[others] == label).float().mean()) if bool(others.any()) else 0.0
    return found
