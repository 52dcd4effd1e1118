"""Effort that follows what it sees: every label is tried in every form, the promising ones go on, the last few until nothing moves.

The cheapest triggers of all labels are searched for side by side, briefly; after each round the cheapest labels stay and are searched
further, with more images, where they stopped (successive halving, Jamieson and Talwalkar 2016). Costs are compared between labels that
had the same effort only: a label that was left earlier looks dearer than it is. A brief search has not found a price yet, but it orders
labels: the target of a public GTSRB model was first of 43 after 16 steps, although its latent shift is the 13th smallest.

A warp has no price while it is brief, so that labels are first ordered by how far a small one is from sending clean images there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from rnpc.speed import side_by_side
from rnpc.stage import Stage
from rnpc.study.case import Case
from rnpc.study.costs import compared, geometric
from rnpc.study.inversion import Aim, Effort, Inversion, Inverted, distance, strongest

WARP_SHARE = 0.02
"""Cost of the warp of a first look, in sides of the image."""
SECOND = 1000
"""Added to the seed for fresh starts."""


@dataclass(frozen=True)
class Round:
    """How many labels a round takes, and the steps and images a step that it adds for each."""

    labels: int
    effort: Effort


@dataclass(frozen=True)
class Pace:
    """How hard a race is run: `rounds` for triggers of pixels, `look` and `warps` for warps, `fresh` starts for labels whose costs are
    close. A race ends early where the cheapest label's cost over another's lies outside of `open`."""

    rounds: tuple[Round, ...]
    look: Effort
    warps: tuple[Round, ...]
    fresh: int
    open: tuple[float, float] = (0.2, 0.9)


PACES = {
    "quick": Pace((Round(32, Effort(28, 8)), Round(4, Effort(40, 16)), Round(3, Effort(40, 24))), Effort(8, 8), (Round(2, Effort(40,
    12)),), 0), "standard": Pace(
        (Round(64, Effort(32, 8)), Round(6, Effort(48, 16)), Round(4, Effort(60, 24)), Round(3, Effort(90, 32))),
        Effort(12, 8), (Round(3, Effort(48, 16)),), 1,
    ),
    "thorough": Pace(
        (Round(256, Effort(48, 12)), Round(12, Effort(60, 16)), Round(6, Effort(100, 32)), Round(4, Effort(150, 32))),
        Effort(16, 12), (Round(5, Effort(64, 16)), Round(3, Effort(64, 24))), 2, (0.1, 0.95),
    ),
}  # fmt: skip


class Race:
    """Inversions of labels in some forms that go on round by round. `found`: the triggers so far."""

    def __init__(self, case: Case, forms: Sequence[str], labels: Sequence[int], offset: int = 0) -> None:
        self.case, self.forms = case, tuple(forms)
        self.searches = {(label, form): Inversion(case, Aim(label, form, case.seed + offset), 16) for label in labels for form in forms}
        self.found: dict[tuple[int, str], Inverted] = {}

    def go(self, labels: Sequence[int], effort: Effort) -> None:
        """Search on for these labels."""
        keys = [(label, form) for label in labels for form in self.forms]
        jobs = [partial(self.searches[key].advance, effort.steps, effort.batch) for key in keys]
        self.found |= dict(zip(keys, side_by_side(jobs, self.case.device), strict=True))

    def cheapest(self, labels: Sequence[int], count: int) -> list[int]:
        """The labels that stay: the cheapest by their geometric mean over the forms and in each form, in turn."""
        orders = [sorted(labels, key=partial(self.price, form=form)) for form in self.forms]
        whole = sorted(labels, key=lambda label: geometric([self.found[label, form].cost for form in self.forms]))
        turns = (order[place] for place in range(len(labels)) for order in (whole, *orders))
        return list(dict.fromkeys(turns))[:count]

    def price(self, label: int, form: str) -> tuple[bool, float]:
        """Orders triggers: those that hold first, then by cost."""
        return not self.found[label, form].held, self.found[label, form].cost

    def ratio(self, labels: Sequence[int]) -> float:
        """The smallest cost of a label over the cheapest other one's, as a geometric mean over the forms; 1 where there is no other."""
        costs = {(label, form): self.found[label, form].cost for label in labels for form in self.forms}
        if len(labels) < 2:
            return 1.0
        return min(geometric(list(compared(costs, label)[0].values())) for label in labels)


def run(case: Case, forms: Sequence[str], labels: Sequence[int], pace: Pace, offset: int = 0) -> tuple[Race, list[int]]:
    """A race, and the labels that had the effort of all its rounds."""
    race, left = Race(case, forms, labels, offset), list(labels)
    for number, each in enumerate(pace.rounds):
        case.tell(Stage.LABELS if number == 0 else Stage.INVERT, number / len(pace.rounds), None)
        left = left[: each.labels] if number == 0 else race.cheapest(left, each.labels)
        race.go(left, each.effort)
        if number > 1 and not pace.open[0] <= race.ratio(left) <= pace.open[1]:
            break
    return race, left


def again(race: Race, labels: Sequence[int], pace: Pace) -> dict[tuple[int, str], Inverted]:
    """The cheapest triggers of the last labels over `pace.fresh` starts of their own beside the first."""
    best = {(label, form): race.found[label, form] for label in labels for form in race.forms}
    for start in range(pace.fresh):
        fresh = Race(race.case, race.forms, labels, SECOND * (start + 1))
        for each in pace.rounds:
            fresh.go(labels, each.effort)
        best = {key: min(trigger, fresh.found[key], key=lambda t: (not t.held, t.cost)) for key, trigger in best.items()}
    return best


def warps(case: Case, labels: Sequence[int], pace: Pace) -> list[Inverted]:
    """Warps of the labels to which a small one comes nearest."""
    budget = WARP_SHARE * min(case.learn.shape[1:])

    def far(label: int) -> float:
        return distance(case.subject, strongest(case, Aim(label, "warp", case.seed), budget, pace.look), case.learn)

    near = np.argsort(side_by_side([partial(far, label) for label in labels], case.device), kind="stable")
    race, left = Race(case, ("warp",), [labels[k] for k in near[: pace.warps[0].labels]]), [labels[k] for k in near]
    for number, each in enumerate(pace.warps):
        left = left[: each.labels] if number == 0 else race.cheapest(left, each.labels)
        race.go(left, each.effort)
    return [race.found[label, "warp"] for label in left]
