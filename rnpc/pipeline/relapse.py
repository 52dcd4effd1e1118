"""How easily the backdoor comes back: the written file is trained on the user's images and five of them with a trigger.

The training is the re-tuning attack of Min et al. (NeurIPS 2024), with the best trigger that is known in the place of the attacker's: a
removal that only covers the backdoor up gives way to it. Inverted triggers alone tell too little, since repairs were shown them; families
count as well.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import torch

from rnpc.errors import InputRefused
from rnpc.frontends import onnx_file
from rnpc.program import Program
from rnpc.stage import untold
from rnpc.study.case import Case
from rnpc.study.inversion import NEXT, Inverted, success
from rnpc.study.subject import Split, prepare
from rnpc.study.tunable import Tunable
from rnpc.study.tuning import Schedule, tune

PLANTED, SCHEDULE = 5, Schedule(5, 0.01)
"""Images that carry the trigger, and the training."""
SHOWN = 96
"""Images by which the trigger is chosen."""


def relapse(program: Program, output: bytes, case: Case, triggers: Sequence[Inverted]) -> float | None:
    """Share of the judge images that the strongest of `triggers` sends to its label after the training; None where there is none, no image
    to plant it in, the weights cannot be tuned, or the training falls apart."""
    if not triggers:
        return None
    few = Split(case.judge.stored[:SHOWN], case.judge.labels[:SHOWN])
    trigger = max(triggers, key=lambda each: success(case.subject, each, few))
    some = whole(case)
    rows = (some.labels != trigger.label).nonzero()[:PLANTED, 0]
    if not len(rows):
        return None
    written = onnx_file.program(program.name, output, output=program.signature.output)
    learn = planted(some, trigger, rows, case.subject.classes)
    hard = replace(case, subject=prepare(written, case.subject.pre, case.device), learn=learn, tell=untold)
    try:
        tunable = Tunable.of(hard)
    except InputRefused:
        return None
    course = tune(hard, tunable, SCHEDULE)
    return success(tunable.subject(hard).exact(), trigger, case.judge) if math.isfinite(course[-1].loss) else None


def whole(case: Case) -> Split:
    """All images, each once."""
    if case.rows[1] is case.rows[2]:
        return case.seen
    return Split(torch.cat([case.seen.stored, case.judge.stored]), torch.cat([case.seen.labels, case.judge.labels]))


def planted(some: Split, trigger: Inverted, rows: torch.Tensor, classes: int) -> Split:
    """The images, and those at `rows` once more with the trigger and its label."""
    pixels = (255 * trigger.apply(some.pixels(rows))).round().clamp(0, 255).to(torch.uint8)
    labels = (some.labels[rows] + 1) % classes if trigger.label == NEXT else torch.full_like(rows, trigger.label)
    return Split(torch.cat([some.stored, pixels]), torch.cat([some.labels, labels]))
