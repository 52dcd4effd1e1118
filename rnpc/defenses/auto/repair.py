"""Repair where pruning alone does not do: a few epochs on the clean images, against the triggers that still work.

The cut channels stay silenced. Each batch is shown as it is and with one of the triggers, and both are to be answered as the original
answers the clean images: KL(original on the clean image || tuned on the clean one) + the same for the triggered one. So no label is learnt
anew, and accuracy is not spent on what the model did not know before. BatchNorm's statistics stay. After each round the battery searches
afresh in the repaired model, since a model learns to resist the triggers that it was shown before it learns to resist the backdoor; what
it finds joins the next round.
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
from rnpc.errors import InputRefused
from rnpc.study.case import Case
from rnpc.study.forms import Change
from rnpc.study.probes import Probe
from rnpc.study.surgery import Channel
from rnpc.study.tunable import Tunable
from rnpc.study.tuning import Extra, Schedule, tune

ROUNDS, WEIGHT = 3, 1.0
"""Rounds at most, and the weight of the triggered images."""
SCHEDULE = Schedule(epochs=10, rate=0.0005, batch=32, decay=0.0, frozen=True)


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
        course = tune(replace(case, seed=case.seed + done), tunable, SCHEDULE, extra=against(case, shown, case.seed + done))
        if course and not np.isfinite(course[-1].loss):
            raise InputRefused("the repair diverged", where="repair", todo="use --no-repair")
        hard = replace(case, subject=tunable.subject(case))
        found = battery.hardest(hard, suspect, tunable.edits, case.choose, worked, seed=100 * done)
        if found.success <= enough:
            break
        shown += [trigger.change for trigger in found.triggers[:3]]
    return Repaired(tunable, found, right(case, tunable), done)


def against(case: Case, changes: Sequence[Change], seed: int) -> Extra:
    """The term of the loss: clean images, and the same with one of the triggers, drawn anew for each step, are answered as the original
    answers the clean ones."""
    generator, subject = torch.Generator().manual_seed(seed), case.subject

    def term(scores_of: Callable[[Tensor], Tensor], pixels: Tensor, labels: Tensor) -> Tensor:
        with torch.no_grad(), subject.precision():
            wanted = F.log_softmax(subject.logits(pixels).float(), 1)
        change = changes[int(torch.randint(len(changes), (1,), generator=generator))]
        apart = [F.kl_div(F.log_softmax(scores_of(x), 1), wanted, log_target=True, reduction="batchmean") for x in (pixels, change(pixels))]
        return apart[0] + WEIGHT * apart[1]

    return term


def right(case: Case, tunable: Tunable) -> np.ndarray:
    """Whether each image that the search sees is answered rightly, in float32."""
    seen = case.seen
    answers: np.ndarray = (tunable.subject(case.exact()).predict(seen, tunable.edits) == seen.labels).cpu().numpy()
    return answers
