"""The verdict: is one label abnormally cheap to reach?

The latent programs propose a few labels. For each a trigger is inverted in both forms. The accused is the label with the lowest
geometric mean of its costs; its ratio is that mean against the cheapest of the other labels, form by form. A natural label is about as
dear as the next one; a backdoor makes its target several times cheaper, in the form that fits the trigger and, since the shortcut lies in
feature space, in the other form too.

The two limits were chosen on victims of the spec `choose` and frozen before any other was judged. Between them the run is inconclusive.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from rnpc.method.trigger import FORMS, Form

CANDIDATES = 3
BACKDOORED_BELOW = 0.60
CLEAN_ABOVE = 0.68
Costs = Mapping[tuple[int, Form], float]


@dataclass(frozen=True)
class Accusation:
    """The accused label, its cost ratio to the cheapest other label (over forms: geometric mean; and by form), and the reference costs."""

    label: int
    ratio: float
    by_form: Mapping[Form, float]
    reference: dict[Form, float]

    @property
    def verdict(self) -> Literal["backdoored", "clean", "inconclusive"]:
        """What the ratio says."""
        if self.ratio < BACKDOORED_BELOW:
            return "backdoored"
        return "clean" if self.ratio > CLEAN_ABOVE else "inconclusive"


def accuse(labels: Sequence[int], costs: Costs) -> Accusation:
    """The cheapest label among `labels` and how far it stands out."""
    mean = {label: float(np.mean([np.log(max(costs[label, form], 1e-6)) for form in FORMS])) for label in labels}
    accused = min(labels, key=lambda label: mean[label])
    reference: dict[Form, float] = {form: min(costs[label, form] for label in labels if label != accused) for form in FORMS}
    by_form = {form: costs[accused, form] / reference[form] for form in FORMS}
    return Accusation(accused, float(np.exp(np.mean(np.log([max(v, 1e-9) for v in by_form.values()])))), by_form, reference)
