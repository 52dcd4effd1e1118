"""The latent shift of every label: how small a change of the last features sends all clean images there."""

from __future__ import annotations

import numpy as np

from rnpc.detectors.triggers import latent
from rnpc.errors import InputRefused
from rnpc.passes.facts.head import find_head
from rnpc.study.case import Case


def shift_norms(case: Case) -> np.ndarray:
    """Latent shift norms [K] from the learn images. Raises InputRefused without a linear last layer."""
    head = find_head(case.subject.model)
    if head is None:
        todo = "the target label is found through a last linear layer; other heads are not supported yet"
        raise InputRefused("no linear layer makes the class scores", where="model", todo=todo)
    return latent.shift_norms(case.subject.exact().scores(case.learn).double().cpu().numpy(), head.weight)
