"""`--method auto`: channels fall until the strongest trigger for the accused label is a natural one, within the accuracy budget.

Channels are ranked by how much of the trigger's way runs through them against what clean images lose (`rank`), those that clean images
would miss are spared (`guard`), their constants are learnt (`constants`), and every cut is judged by triggers that are inverted afresh
(`cut`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from rnpc.defenses.auto import cut, show
from rnpc.defenses.base import Defense, Left, Nothing, Outcome, Silence
from rnpc.detectors.base import Detection
from rnpc.study.activations import clean_moments
from rnpc.study.case import Case
from rnpc.study.costs import cheapest_other, compared, costs_of
from rnpc.study.inversion import NEXT

ABOVE_NEXT = 1.5
"""Budget of the strongest all-to-all trigger over the cost of the cheapest: no other label is there to compare with."""
WEAKENED = "the backdoor is weakened and may not be gone: give more images or a larger --max-ca-drop, and measure"
UNTOLD = "at this cost the label's trigger was no stronger than another's even before the cut: what the cut did cannot be told"


@dataclass(frozen=True)
class Auto(Defense):
    """See the module."""

    name: ClassVar[str] = "auto"
    detector: ClassVar[str | None] = "triggers"

    def defend(self, case: Case, detection: Detection | None) -> Outcome:
        """The cut for the label that is suspected most."""
        assert detection is not None
        label = detection.suspects[0].label
        found = cut.search(goal_of(case, label, detection))
        numbers, ranking = numbers_of(found), whole(found)
        if found.chosen is None:
            why = f"no cut for label {label} within the accuracy budget takes most of its trigger's strength away"
            panels = show.panels(case, found, ranking)
            return Nothing(why=why, ranking=ranking, numbers=numbers, panels=panels, confirmed=False, label=label)
        return Silence(
            channels=found.made[found.chosen],
            threshold=found.cuts[found.chosen].threshold,
            ranking=ranking,
            reasons=tuple(after_words(found)),
            numbers=numbers,
            panels=show.panels(case, found, ranking),
            left=left_of(found),
            confirmed=cut.confirms(found),
            label=label,
        )


def goal_of(case: Case, label: int, detection: Detection) -> cut.Goal:
    """What is to be gone: the label's triggers, at costs between its own and the cheapest other label's."""
    means, deviations = clean_moments(case.subject, case.learn)
    costs = costs_of(detection.triggers)
    _, dear, forms = compared(costs, label)
    if label == NEXT:
        return cut.Goal(case, means, deviations, label, {form: ABOVE_NEXT * costs[NEXT, form] for form in forms}, {})
    budgets = {form: float(np.sqrt(max(costs[label, form], 1e-6) * dear[form])) for form in forms}
    return cut.Goal(case, means, deviations, label, budgets, {form: cheapest_other(costs, label, form) for form in forms})


def numbers_of(found: cut.Search) -> dict[str, float]:
    """Success of the strongest triggers before and after."""
    numbers = {f"strongest_{form}_before": value for form, value in found.cuts[0].success.items()}
    if found.chosen is not None:
        numbers |= {f"strongest_{form}_after": value for form, value in found.cuts[found.chosen].success.items()}
    return numbers


def left_of(found: cut.Search) -> Left:
    """The worst form's success after the cut, with what it was before and what is natural."""
    assert found.chosen is not None
    after = found.cuts[found.chosen].success
    worst = max(after, key=lambda form: after[form] - found.levels[form])
    told = found.excess(found.cuts[0].success) > 0
    return Left(after[worst], found.cuts[0].success[worst], found.levels[worst], told)


def after_words(found: cut.Search) -> list[str]:
    """What the strongest triggers do after the cut, and a warning where that is more than natural."""
    assert found.chosen is not None
    chosen = found.cuts[found.chosen]
    words = [
        f"the strongest {form} trigger of cost {found.budgets[form]:.2f} reached {found.cuts[0].success[form]:.0%} of the judged images "
        f"before the cut and reaches {after:.0%} after it (natural: {found.levels[form]:.0%})"
        for form, after in chosen.success.items()
    ]
    if found.excess(found.cuts[0].success) <= 0:
        words.append(UNTOLD)
    elif found.excess(chosen.success) > 0:
        words.append(WEAKENED)
    return words


def whole(found: cut.Search) -> tuple[cut.Channel, ...]:
    """The channels of the cut (of the last one where none is made), then all others by the first ranking."""
    path = found.made[-1 if found.chosen is None else found.chosen]
    gone = {(channel.site, channel.index) for channel in path}
    return (*path, *(c for c in found.ranked if (c.site, c.index) not in gone))
