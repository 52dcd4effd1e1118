"""What the triggers of labels cost, compared label with label."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from rnpc.study.inversion import NEXT, Inverted

Costs = Mapping[tuple[int, str], float]
"""(label, form) -> cost in the form's unit."""
CHEAP = 0.75
"""A form whose cost is below this part of the other label's belongs to the backdoor."""


def costs_of(triggers: Sequence[Inverted]) -> dict[tuple[int, str], float]:
    """The costs of triggers: of several for one label in one form the least."""
    found = dict[tuple[int, str], float]()
    for trigger in triggers:
        key = trigger.label, trigger.form
        found[key] = min(trigger.cost, found.get(key, trigger.cost))
    return found


def compared(costs: Costs, label: int) -> tuple[dict[str, float], dict[str, float], tuple[str, ...]]:
    """By form: the label's cost over the reference, the reference, and the forms in which the label is cheap (the cheapest at least)."""
    known = [form for who, form in costs if who == label]
    dear = {form: reference(costs, label, form) for form in known}
    by_form = {form: costs[label, form] / dear[form] for form in known}
    least = min(by_form.values(), default=0.0)
    return by_form, dear, tuple(form for form in known if by_form[form] <= max(CHEAP, least))


def reference(costs: Costs, label: int, form: str) -> float:
    """Cost of the cheapest other label in a form."""
    return max(min(cost for (other, kind), cost in costs.items() if kind == form and other not in (label, NEXT)), 1e-6)


def cheapest_other(costs: Costs, label: int, form: str) -> int:
    """The label whose cost is the reference."""
    dear = reference(costs, label, form)
    return next(who for (who, kind), cost in costs.items() if kind == form and who not in (label, NEXT) and cost <= dear)


def geometric(values: Sequence[float]) -> float:
    """Geometric mean; zeros count as 1e-6."""
    return float(np.exp(np.mean(np.log(np.maximum(values, 1e-6)))))
