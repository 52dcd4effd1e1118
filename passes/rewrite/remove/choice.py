"""Which classes of channels can go, and what has to be done with the constants that they leave.

A class is a candidate if the plan silences a channel of it. It stays if anything pins it, or if a layer reads one of its positions where
it is neither zero nor a constant. A constant v in front of a layer that does not pad is added to that layer's bias (weight sum times v).
In front of a layer that pads, or has no bias to write to, the constants of several classes are merged into one class, the carrier, whose
own constant is u: its weights become the sum of v / u times the weights of each. That holds at borders too, since a padded entry is zero
for all of them alike. One such class alone stays.

Then classes are kept again, the last first, until no value is left without channels and all groups of a grouped layer lose equally many.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from rnpc.passes.facts.channels.base import Balance, Linear
from rnpc.passes.facts.channels.sweep import Facts, rows_read
from rnpc.passes.facts.view import node_name

Place = tuple[int, int]
"""A layer (its index in `Found.linears`) and one of its groups."""
Wanted = Mapping[str, tuple[int, ...]]
"""Value -> the channels that the plan silences."""


@dataclass
class Choice:
    """`gone`: class -> whether it goes. `why`: class -> why it stays. `carriers`: class that goes -> the class that carries it."""

    gone: np.ndarray
    why: dict[int, str]
    carriers: dict[int, int] = field(default_factory=dict)

    def keep(self, root: int, why: str) -> None:
        """This class stays."""
        self.gone[root] = False
        self.why.setdefault(root, why)


def choose(facts: Facts, wanted: Wanted) -> Choice:
    """What goes of all that the plan silences."""
    choice = Choice(candidates(facts, wanted), {})
    for root in np.flatnonzero(choice.gone).tolist():
        if root in facts.pins:
            choice.keep(root, facts.pins[root])
    merging: dict[int, set[Place]] = defaultdict(set)
    for index, linear in enumerate(facts.found.linears):
        examine(facts, choice, index, linear, merging)
    carry(facts, choice, merging)
    while narrow(facts, choice):
        pass
    return choice


def candidates(facts: Facts, wanted: Wanted) -> np.ndarray:
    """Classes of which the plan silences a channel."""
    chosen = np.zeros(len(facts.roots), dtype=bool)
    for value, channels in wanted.items():
        if value in facts.values:
            chosen[facts.roots[facts.values[value].ids[list(channels)]]] = True
    return chosen


def examine(facts: Facts, choice: Choice, index: int, linear: Linear, merging: dict[int, set[Place]]) -> None:
    """Keep what a layer reads and is no constant; note what would have to be merged in front of it."""
    roots = facts.roots[linear.channels.ids]
    if not choice.gone[roots].any():
        return
    constant = linear.channels.constant
    needed = choice.gone[roots] & rows_read(linear, facts.live[linear.output]) & (constant != 0)
    node = facts.view.nodes[linear.node]
    for root in np.unique(roots[needed & np.isnan(constant)]).tolist():
        choice.keep(root, f"{linear.source} is no constant where {node.op_type} {node_name(node)} reads it")
    if folds(linear):
        return
    for position in np.flatnonzero(needed & ~np.isnan(constant)).tolist():
        if linear.weight.plain:
            merging[int(roots[position])].add((index, position // linear.reads.shape[1]))
        else:
            choice.keep(int(roots[position]), f"{node.op_type} {node_name(node)} has weights that cannot carry a constant")


def folds(linear: Linear) -> bool:
    """Whether a constant in front of the layer can be added to its bias."""
    return not linear.pads and linear.bias is not None


def carry(facts: Facts, choice: Choice, merging: Mapping[int, set[Place]]) -> None:
    """Choose a carrier for each set of classes that are merged in front of the same layers."""
    alike: dict[tuple[Place, ...], list[int]] = defaultdict(list)
    for root in sorted(merging):
        if choice.gone[root]:
            alike[tuple(sorted(merging[root]))].append(root)
    for places, roots in alike.items():
        node = facts.view.nodes[facts.found.linears[places[0][0]].node]
        carrier = max(roots, key=lambda root: (*fitness(facts, root, places), -root))
        what = "pads" if facts.found.linears[places[0][0]].pads else "has no bias to write to"
        others = f"it carries {len(roots) - 1} more" if len(roots) > 1 else "there is no other to merge it with"
        choice.keep(carrier, f"its constant is not zero and {node.op_type} {node_name(node)} {what}: {others}")
        choice.carriers.update({root: carrier for root in roots if root != carrier})


def fitness(facts: Facts, root: int, places: tuple[Place, ...]) -> tuple[bool, float]:
    """A carrier whose constants are powers of two divides exactly; a large constant divides without overflow."""
    values = [abs(carried(facts, root, place)[1]) for place in places]
    return all(float(np.frexp(value)[0]) == 0.5 for value in values), min(values)


def carried(facts: Facts, root: int, place: Place) -> tuple[int, float]:
    """The position of a class in a layer's group whose constant is largest, and that constant."""
    linear, each = facts.found.linears[place[0]], facts.found.linears[place[0]].reads.shape[1]
    span = np.arange(place[1] * each, (place[1] + 1) * each)
    own = span[facts.roots[linear.channels.ids[span]] == root]
    best = int(own[np.nanargmax(np.abs(linear.channels.constant[own]))])
    return best, float(linear.channels.constant[best])


def narrow(facts: Facts, choice: Choice) -> bool:
    """Keep classes that leave a value empty or groups uneven; whether any was kept."""
    before = int(choice.gone.sum())
    for name, known in facts.values.items():
        roots = facts.roots[known.ids]
        if choice.gone[roots].all():
            choice.keep(int(roots[0]), f"{name} would be left without a channel")
    for balance in facts.found.balances:
        even(facts, choice, balance)
    return int(choice.gone.sum()) < before


def even(facts: Facts, choice: Choice, balance: Balance) -> None:
    """Each group that is left loses as many as the one that loses least, and keeps one."""
    roots = facts.roots[balance.ids]
    gone = choice.gone[roots]
    if not gone.any():
        return
    node = facts.view.nodes[balance.node]
    left = ~gone.all(axis=1) if balance.other is None else ~(gone.all(axis=1) & choice.gone[facts.roots[balance.other]].all(axis=1))
    if balance.other is None:
        left[:] = True
    least = min(int(gone[left].sum(axis=1).min()), gone.shape[1] - 1) if left.any() else 0
    for group in np.flatnonzero(left).tolist():
        places = np.flatnonzero(gone[group])
        for place in places[least:].tolist():
            choice.keep(int(roots[group, place]), f"the groups of {node.op_type} {node_name(node)} have to lose equally many")
