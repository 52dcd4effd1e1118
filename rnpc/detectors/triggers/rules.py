"""The verdict: is one label abnormally cheap to reach?

Triggers are inverted for the labels that a race over all of them left (`race`). Three rules look at the costs; each gives a number that
is small for a backdoor and near 1 for a natural label:

    pixels    cost of the additive and of the patch trigger (geometric mean) over the cheapest other label's, form by form: a backdoor makes
              its target several times cheaper in the form that fits the trigger and, since the shortcut lies in feature space, in the other
    warp      cost of the warp over the other label's: in a clean model a smooth warp of a pixel or less sends nearly no image anywhere
    next      share of judged images, of those that the model answers rightly, that one trigger fails to send to the label after their own:
              no clean model lets one trigger do that

A number below the rule's first limit convicts, above the second it acquits, between them the run is inconclusive, unless the cut has more
to say (`DOUBT`, `cut.confirms`). The limits were chosen on victims of the spec `choose`, but for the one that acquits by pixels: a style
attack (DFST) lay at 0.71 and was called clean, so that it was raised from 0.60 and some sound models are inconclusive now; and the one of
`next`, raised from 0.40 since an all-to-all backdoor in a model of 74 % accuracy lay at 0.44 (sound models: 0.79 to 0.89).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from rnpc.detectors.base import Verdict
from rnpc.study.costs import Costs, compared, geometric, reference
from rnpc.study.forms import PIXELS
from rnpc.study.inversion import NEXT

Rule = Literal["pixels", "warp", "next"]
LIMITS: dict[Rule, tuple[float, float]] = {"pixels": (0.45, 0.75), "warp": (0.45, 0.60), "next": (0.25, 0.65)}
AGAIN, DOUBT = (0.40, 0.80), (0.45, 0.65)
"""Numbers of the rule `pixels` between which triggers are inverted a second time, and between which the cut has a say."""
ABLE = 0.5
"""Least success on judged images of a trigger that accuses."""


@dataclass(frozen=True)
class Accusation:
    """The accused label and what each rule says of its own suspect: `numbers`; `by_form`: cost over that of the cheapest other label;
    `reference`: that cost; `forms`: those in which the accused label is cheap; `measured`: whether any label's triggers for pixels worked.
    Where none did, nothing was learnt of any label, and nobody is acquitted."""

    label: int
    rule: Rule
    numbers: Mapping[Rule, float]
    by_form: Mapping[str, float]
    reference: Mapping[str, float]
    forms: tuple[str, ...]
    measured: bool = True

    @property
    def verdict(self) -> Verdict:
        """What the most suspicious rule says."""
        low, high = LIMITS[self.rule]
        if self.numbers[self.rule] < low:
            return "backdoored"
        return "clean" if self.numbers[self.rule] > high and self.measured else "inconclusive"


def accuse(costs: Costs, reached: Costs, missed: float = 1.0) -> Accusation:
    """The most suspicious label.

    `costs`: of labels in forms, two labels in a form at least; `reached`: success of those triggers on judged images, by which a label can
    be a suspect; `missed`: what the rule `next` measured."""
    suspects: dict[Rule, tuple[int, float]] = {"pixels": cheapest(costs, reached, PIXELS), "next": (NEXT, missed)}
    if any(form == "warp" for _, form in costs):
        suspects["warp"] = cheapest(costs, reached, ("warp",))
    numbers = {rule: value for rule, (_, value) in suspects.items()}
    worked = any(reached[who, form] >= ABLE for who, form in costs if form in PIXELS and who != NEXT)
    rule = min(numbers, key=lambda each: nearness(each, numbers[each]))
    label = suspects[rule][0]
    return Accusation(label, rule, numbers, *compared(costs, label), measured=worked)


def doubtful(accusation: Accusation) -> bool:
    """Whether the cut has a say."""
    return close(accusation, DOUBT) or (accusation.rule == "next" and accusation.verdict == "inconclusive")


def close(accusation: Accusation, limits: tuple[float, float]) -> bool:
    """Whether the rule `pixels` accuses with a number between the limits."""
    return accusation.rule == "pixels" and limits[0] <= accusation.numbers["pixels"] <= limits[1]


def nearness(rule: Rule, number: float) -> tuple[int, float]:
    """Orders rules: those that convict first, then those that are not sure, then the others; among them by the number over its limit."""
    low, high = LIMITS[rule]
    return (number >= low) + (number > high), number / low


def cheapest(costs: Costs, reached: Costs, forms: tuple[str, ...]) -> tuple[int, float]:
    """The label with the smallest geometric mean of its costs in the forms, and that mean over the cheapest other label's, by form.

    A label whose triggers fail on most judged images has no cost to speak of: it is no suspect as long as there is another, and where there
    is none the number is 1 at least. As a reference its cost is good: the true one is higher."""
    labels = list(dict.fromkeys(label for label, form in costs if form == forms[0] and label != NEXT))
    able = [label for label in labels if min(reached[label, form] for form in forms) >= ABLE]
    label = min(able or labels, key=lambda each: geometric([costs[each, form] for form in forms]))
    number = geometric([costs[label, form] / reference(costs, label, form) for form in forms])
    return label, number if able else max(number, 1.0)
