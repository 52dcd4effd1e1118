"""What defenses that tune have in common: random crops, and an outcome that is judged once."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from rnpc.defenses.base import Nothing, Outcome, Weights
from rnpc.panel import Panel
from rnpc.stage import Stage
from rnpc.study.case import Case
from rnpc.study.surgery import Channel
from rnpc.study.tunable import Tunable
from rnpc.study.tuning import Epoch, course_panel, judge

PAD = 8
"""An image moves by up to an eighth of its side: 4 pixels of 32."""


def outcome(
    case: Case,
    tunable: Tunable,
    course: Sequence[Epoch],
    gone: tuple[Channel, ...] = (),
    ranking: tuple[Channel, ...] = (),
    panels: tuple[Panel, ...] = (),
    reasons: tuple[str, ...] = (),
) -> Outcome:
    """The tuned weights with the channels that are `gone`, where the judged drop's 95 % bound is within the budget; else Nothing."""
    case.tell(Stage.JUDGE, None, None)
    judged, panels = judge(case, tunable), (*panels, course_panel(course))
    numbers = {"drop": judged.drop, "drop_bound": judged.bound, "epochs": float(len(course))}
    said = f"accuracy on {len(case.judge)} images apart went from {judged.before:.1%} to {judged.after:.1%}"
    if judged.bound > case.max_drop:
        why = f"{said}: a drop of up to {judged.bound:.1%} (95 % bound), where {100 * case.max_drop:.3g} % is allowed"
        return Nothing(why=why, ranking=ranking, reasons=reasons, panels=panels, numbers=numbers)
    tensors = tunable.tensors()
    if not tensors and not gone:
        return Nothing(why="no weight has changed", ranking=ranking, reasons=reasons, panels=panels, numbers=numbers)
    return Weights(channels=gone, tensors=tensors, ranking=ranking, reasons=(*reasons, said), panels=panels, numbers=numbers)


def crops(images: Tensor, generator: torch.Generator, flip: bool = False) -> Tensor:
    """Random crops, padded with zeros by an eighth of the side; with `flip`, half of the images are mirrored."""
    height, width = images.shape[2:]
    y, x = height // PAD, width // PAD
    padded = F.pad(images, (x, x, y, y))
    rows = torch.randint(2 * y + 1, (len(images),), generator=generator).tolist()
    columns = torch.randint(2 * x + 1, (len(images),), generator=generator).tolist()
    turned = (torch.rand(len(images), generator=generator) < 0.5).tolist() if flip else [False] * len(images)
    cut = [padded[i, :, r : r + height, c : c + width] for i, (r, c) in enumerate(zip(rows, columns, strict=True))]
    return torch.stack([image.flip(2) if mirror else image for image, mirror in zip(cut, turned, strict=True)])
