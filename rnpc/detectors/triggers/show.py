"""What the verdict by triggers shows: the triggers, the evidence by class, the course of unlearning, the masks."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from rnpc.detectors.triggers.latent import robust_z
from rnpc.detectors.triggers.rules import Accusation
from rnpc.panel import Cell, Panel, Table, Unit
from rnpc.study.case import Case
from rnpc.study.costs import costs_of
from rnpc.study.forms import PRICED
from rnpc.study.inversion import Inverted
from rnpc.study.show import course_panel, mask_panel, trigger_panel
from rnpc.study.unlearn import Reconstruction

CLASSES = (
    "Latent shift: the smallest change of the last features that sends all clean images to the class. Robust z: distance from the median "
    "class in units of the median deviation. Costs: size of the smallest trigger found. Vote: share of images that the unlearned model "
    "puts there."
)


def panels(
    case: Case, accusation: Accusation, triggers: Sequence[Inverted], reached: Sequence[float], norms: np.ndarray, found: Reconstruction
) -> tuple[Panel, ...]:
    """All panels, triggers first."""
    accused = () if accusation.verdict == "clean" else (accusation.label,)
    votes = np.stack([point.votes for point in found.course]) if found.course else np.zeros((0, case.classes))
    course = course_panel(case, [p.step for p in found.course], [p.accuracy for p in found.course], votes)
    return (
        trigger_panel(case, triggers, reached, accused),
        class_table(case, triggers, norms, found.votes, accused),
        course,
        mask_panel(found.masks),
    )


def class_table(case: Case, triggers: Sequence[Inverted], norms: np.ndarray, votes: np.ndarray, accused: Sequence[int]) -> Table:
    """What is known of each class, the smallest latent shift first."""
    z, costs = robust_z(norms), costs_of(triggers)
    order = sorted(range(case.classes), key=lambda k: (not np.isfinite(norms[k]), norms[k], k))
    rows = tuple(row(case, k, norms[k], z[k], [costs.get((k, form)) for form in PRICED], votes[k]) for k in order)
    marked = tuple(place for place, k in enumerate(order) if k in accused)
    columns = ("label", "name", "latent shift", "robust z", *(f"{form} cost" for form in PRICED), "vote")
    measured: list[Unit] = ["number"] * (2 + len(PRICED))
    units: tuple[Unit, ...] = ("text", "text", *measured, "share")
    return Table("Evidence by class", columns, rows, CLASSES, units, marked)


def row(case: Case, label: int, norm: float, z: float, costs: Sequence[float | None], vote: float) -> tuple[Cell, ...]:
    """One row."""
    return (label, str(label) if case.names is None else case.names[label], finite(norm), finite(z), *costs, finite(vote))


def finite(value: float) -> float | None:
    """None for what was not computed."""
    return float(value) if np.isfinite(value) else None
