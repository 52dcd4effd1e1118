"""Repair where pruning alone does not do: a few epochs on the clean images, against the triggers that still work.

The cut channels stay silenced. Each batch is shown as it is and with one of the triggers, and both are to be answered with the true label,
by sharpness-aware steps (FT-SAM; see `defenses.ft_sam`). After each round the battery searches afresh in the repaired model, since a
model learns to resist the triggers that it was shown before it learns to resist the backdoor; what it finds joins the next round.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from rnpc.defenses.auto import battery
from rnpc.defenses.auto.battery import Found, Suspect
from rnpc.study.case import Case
from rnpc.study.forms import Change
from rnpc.study.probes import Probe
from rnpc.study.surgery import Channel
from rnpc.study.tunable import Tunable
from rnpc.study.tuning import Schedule, sharpness_aware, tune

ROUNDS, EPOCHS, RATE, BATCH, RHO, WEIGHT = 2, 5, 0.005, 32, 1.0, 1.0
"""Rounds at most, epochs of each, rate, images a step, radius of the sharpness-aware step, weight of the triggered images."""


@dataclass(frozen=True)
class Repaired:
    """The tuned network, what is left in it (on the choose images), and whether each choose image is answered rightly."""

    tunable: Tunable
    left: Found
    right: np.ndarray
    rounds: int


def repair(case: Case, suspect: Suspect, channels: Sequence[Channel], worked: Sequence[Probe], left: Found, enough: float) -> Repaired:
    """Tune until what is left is at most `enough`, or the rounds end. Raises InputRefused for a model whose weights cannot be tuned."""
    tunable, shown = Tunable.of(case, channels), [t.change for t in (*left.triggers[:4], *suspect.known)] + [p.change for p in worked[:12]]
    found, done = left, 0
    for done in range(1, ROUNDS + 1):
        term = against(shown, case.seed + done)
        tune(replace(case, seed=case.seed + done), tunable, Schedule(EPOCHS, RATE, BATCH), sharpness_aware(RHO), term)
        hard = replace(case, subject=tunable.subject(case))
        found = battery.hardest(hard, suspect, tunable.edits, case.choose, worked, seed=100 * done)
        if found.success <= enough:
            break
        shown += [trigger.change for trigger in found.triggers[:3]]
    return Repaired(tunable, found, right(case, tunable), done)


def against(changes: Sequence[Change], seed: int) -> Callable[[Callable[[Tensor], Tensor], Tensor, Tensor], Tensor]:
    """The term of the loss: images with one of the triggers, drawn anew for each step, are to keep their label."""
    generator = torch.Generator().manual_seed(seed)

    def term(scores_of: Callable[[Tensor], Tensor], pixels: Tensor, labels: Tensor) -> Tensor:
        chosen = changes[int(torch.randint(len(changes), (1,), generator=generator))]
        return WEIGHT * F.cross_entropy(scores_of(chosen(pixels)), labels)

    return term


def right(case: Case, tunable: Tunable) -> np.ndarray:
    """Whether each choose image is answered rightly, in float32."""
    answers: np.ndarray = (tunable.subject(case.exact()).predict(case.choose, tunable.edits) == case.choose.labels).cpu().numpy()
    return answers
