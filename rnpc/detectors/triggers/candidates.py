"""Which labels may be a backdoor's: the smallest shift of the last features, then a first look at triggers."""

from __future__ import annotations

from functools import partial

import numpy as np

from rnpc.detectors.triggers import latent
from rnpc.detectors.triggers.rules import CANDIDATES, LOOKED
from rnpc.errors import InputRefused
from rnpc.passes.facts.head import find_head
from rnpc.speed import side_by_side
from rnpc.study.case import Case
from rnpc.study.inversion import Aim, Effort, distance, strongest

GLANCE, GLANCE_RMS = Effort(steps=16), 0.12
"""How long a first look is, and the root mean square of its change."""


def shift_norms(case: Case) -> np.ndarray:
    """Latent shift norms [K] from the learn images. Raises InputRefused without a linear last layer."""
    head = find_head(case.subject.model)
    if head is None:
        todo = "the target label is found through a last linear layer; other heads are not supported yet"
        raise InputRefused("no linear layer makes the class scores", where="model", todo=todo)
    return latent.shift_norms(case.subject.exact().scores(case.learn).double().cpu().numpy(), head.weight)


def candidates(case: Case, norms: np.ndarray) -> list[int]:
    """The labels that may be a backdoor's: the one with the smallest norm, then those that a brief trigger comes nearest to."""
    seen = [int(label) for label in np.argsort(norms, kind="stable")[:LOOKED]]
    far = side_by_side([partial(farness, case, label) for label in seen], case.device)
    near = [label for _, label in sorted(zip(far, seen, strict=True))]
    return [seen[0], *(label for label in near if label != seen[0])][:CANDIDATES]


def farness(case: Case, label: int) -> float:
    """Mean cross-entropy of the label on learn images with a trigger that was given little time and cost."""
    budget = GLANCE_RMS * float(np.sqrt(np.prod(case.learn.shape)))
    return distance(case.subject, strongest(case, Aim(label, "additive", case.seed), budget, GLANCE), case.learn)
