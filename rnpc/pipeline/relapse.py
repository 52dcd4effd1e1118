"""How easily the backdoor comes back: the written file is trained on the user's images and five of them with a trigger.

The training is the re-tuning attack of Min et al. (NeurIPS 2024), with triggers that are known in the place of the attacker's: a removal
that only covers the backdoor up gives way to it. Inverted triggers alone tell too little, since repairs were shown them; families count as
well. One trigger alone tells too little, too: some do not come back where the attacker's does, and the other way round. And a rate that
wrecks the network tells nothing: an attacker would take a lower one.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import replace
from functools import partial

import torch

from rnpc.errors import InputRefused
from rnpc.frontends import onnx_file
from rnpc.program import Program
from rnpc.speed import side_by_side
from rnpc.stage import untold
from rnpc.study.case import Case
from rnpc.study.inversion import NEXT, Inverted, success
from rnpc.study.subject import Split, Subject, prepare
from rnpc.study.tunable import Tunable
from rnpc.study.tuning import Schedule, tune

PLANTED, EPOCHS, RATES = 5, 5, (0.01, 0.003, 0.001)
"""Images that carry the trigger, and the training: at the first of these rates at which the network keeps its accuracy."""
APART = 0.05
"""Accuracy that it may lose by it."""
SHOWN = 96
"""Images by which triggers are chosen."""
WORKS, SEVERAL = 0.9, 6
"""What a trigger must reach in the original to be tried, of what the strongest reaches, and how many are, at most."""


def relapse(program: Program, output: bytes, case: Case, triggers: Sequence[Inverted]) -> float | None:
    """Share of the judge images that a trigger sends to its label after the training with it, on average over several; None where there is
    none, no image to plant it in, the weights cannot be tuned, or the training falls apart."""
    if not triggers:
        return None
    written = onnx_file.program(program.name, output, output=program.signature.output)
    hard = replace(case, subject=prepare(written, case.subject.pre, case.device), learn=whole(case), tell=untold)
    try:
        tunable = Tunable.of(hard)
    except InputRefused:
        return None
    least = tunable.subject(hard).exact().accuracy(hard.judge) - APART
    jobs = [partial(after, hard, tunable, least, trigger) for trigger in tried(case, triggers)]
    found = [share for share in side_by_side(jobs, case.device) if share is not None]
    return sum(found) / len(found) if found else None


def tried(case: Case, triggers: Sequence[Inverted]) -> list[Inverted]:
    """Some of those that work in the original, from all over the list."""
    few = Split(case.judge.stored[:SHOWN], case.judge.labels[:SHOWN])
    reached = [success(case.subject, each, few) for each in triggers]
    able = [trigger for trigger, share in zip(triggers, reached, strict=True) if not share < WORKS * max(reached)]
    return [able[k * len(able) // SEVERAL] for k in range(SEVERAL)] if len(able) > SEVERAL else able


def after(hard: Case, tunable: Tunable, least: float, trigger: Inverted) -> float | None:
    """What the trigger reaches once a copy of the network was trained with it."""
    rows = (hard.learn.labels != trigger.label).nonzero()[:PLANTED, 0]
    made = retuned(hard, tunable, planted(hard.learn, trigger, rows, hard.subject.classes), least) if len(rows) else None
    return None if made is None else success(made, trigger, hard.judge)


def retuned(hard: Case, tunable: Tunable, poisoned: Split, least: float) -> Subject | None:
    """A copy of the network, trained on these images; None where it answers less than `least` of the judge images at each rate."""
    for rate in RATES:
        copy = replace(tunable, twin=deepcopy(tunable.twin))
        course = tune(replace(hard, learn=poisoned), copy, Schedule(EPOCHS, rate))
        made = copy.subject(hard).exact()
        if math.isfinite(course[-1].loss) and made.accuracy(hard.judge) >= least:
            return made
    return None


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
