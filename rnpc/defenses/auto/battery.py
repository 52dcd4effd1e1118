"""The judge that does not deceive itself: what is left of a backdoor is the largest success over a battery that the cut was not fitted to.

- Fresh strongest triggers, inverted in the hardened model from several starts, in each form in which the label was cheap, at the cost of
  `budgets`: far enough above the backdoor's own price that it answers in full, below that of natural features.
- Generators, once, in what was taken: where they reach clearly more than other labels' do in the original, that is what is left.
- The triggers that were found before, as they are, moved, and (additive ones) louder; known families of triggers where the inverted one
  sits (`study.probes`). These count only where they worked in the original: they are looked for, not made.

All are learnt on `learn` and counted on other images. The natural level of a form is what the same inversions reach for another label in
the original; a form in which that is high already can tell nothing, and does not count.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

from torch import Tensor

from rnpc.speed import side_by_side
from rnpc.study.case import Case
from rnpc.study.costs import CHEAP
from rnpc.study.forms.additive import Additive
from rnpc.study.forms.drawn import BUDGET, Drawn
from rnpc.study.inversion import NEXT, Aim, Effort, Inverted, invert, reached, strongest, success
from rnpc.study.probes import Probe, aimed_at, louder, others, probed, probes
from rnpc.study.subject import Split
from rnpc.twin.module import Edit

EFFORT = Effort(80, 24)
"""Of an inversion: twice that of the search, with more images."""
STARTS = (0, 7000)
"""Added to the seed."""
FINAL = 31
"""The same where what was taken is judged: other starts than those that it was taken by."""
WORKED = 0.5
"""Least success in the original of a probe that counts."""
HIGH = 0.5
"""A form whose natural level is above this hides what is left."""
LOUDER = (2, 4)
"""How many times as strong inverted triggers are tried."""
SHOWN_MEMBERS, OTHER_MEMBERS = range(1, 5), range(5, 9)
"""Members of a family of noise or warps that works which repairs are shown, and those that judge what was taken."""
SHOWN = 96
"""Images by which probes are tried in the original."""
CLASS = 10
"""Images that a class has at least where it is looked at alone."""


@dataclass(frozen=True)
class Suspect:
    """What is to be gone: a label with its `known` triggers; `budgets`: by form, the cost to try; `other`: by form, a label to compare
    with."""

    label: int
    known: tuple[Inverted, ...]
    budgets: Mapping[str, float]
    other: Mapping[str, int] = field(default_factory=dict)

    def closer(self) -> Suspect:
        """At costs nearer to the label's own: others that are not much dearer hide what is left."""
        own = {trigger.form: trigger.cost for trigger in self.known}
        return replace(self, budgets={form: (max(own.get(form, cost), 1e-6) * cost) ** 0.5 for form, cost in self.budgets.items()})

    def by_image(self) -> Suspect:
        """By changes that a generator draws for each image: they may tell where no pattern for all images does."""
        return replace(self, budgets={Drawn.name: BUDGET}, other={Drawn.name: next(iter(self.other.values()))})

    def within(self, forms: Collection[str]) -> Suspect:
        """The same in these forms only."""
        return replace(self, budgets={form: cost for form, cost in self.budgets.items() if form in forms})


@dataclass(frozen=True)
class Found:
    """`success` of the worst member of the battery, and what it is; `triggers`: the fresh ones, the strongest first; `narrow`: the class
    whose images some member moves most, and its success there (None where no class has images enough): an attack may be on one class."""

    success: float
    worst: str
    triggers: tuple[Inverted, ...]
    narrow: tuple[int, float] | None = None


def hardest(case: Case, suspect: Suspect, edits: Mapping[str, Edit], data: Split, worked: Sequence[Probe], seed: int = 0) -> Found:
    """The battery in a hardened model: the case's subject with `edits`. `worked`: probes that worked in the original."""
    aims = [(form, start) for form in suspect.budgets for start in STARTS]
    jobs = [partial(fresh, case, suspect, form, case.seed + seed + start, edits) for form, start in aims]
    made = side_by_side(jobs, case.device)
    members = [(f"a fresh {trigger.form} trigger of cost {trigger.cost:.3g}", trigger) for trigger in made]
    members += [(probe.name, aimed_at(suspect.label, probe)) for probe in worked]
    hits = [reached(case.subject, trigger, data, edits) for _, trigger in members]
    shares = [float(hit.float().mean()) if len(hit) else float("nan") for _, hit in hits]
    best, name = max(zip(shares, (name for name, _ in members), strict=True), default=(0.0, "nothing"))
    order = sorted(range(len(made)), key=lambda k: -shares[k])
    return Found(best, name, tuple(made[k] for k in order), narrowest(hits))


def narrowest(hits: Sequence[tuple[Tensor, Tensor]]) -> tuple[int, float] | None:
    """Of all classes with `CLASS` images or more the one that a trigger moves most, and how much of it. `hits`: by trigger, the images'
    classes and whether they fell."""
    found = [
        (float(hit[of].float().mean()), int(label))
        for labels, hit in hits
        for label in labels.unique()
        if (of := labels == label).sum() >= CLASS
    ]
    share, label = max(found, default=(-1.0, -1))
    return (label, share) if found else None


def fresh(case: Case, suspect: Suspect, form: str, seed: int, edits: Mapping[str, Edit]) -> Inverted:
    """The strongest trigger of the form's budget."""
    return strongest(case, Aim(suspect.label, form, seed, edits), suspect.budgets[form], EFFORT)


def working(case: Case, suspect: Suspect, members: bool = False) -> list[Probe]:
    """The probes that work in the original, by some of the images; with `members`, some more of the families that are drawn."""
    found = at_work(case, suspect, probes(case, suspect.label, list(suspect.known)))
    return [*found, *at_work(case, suspect, others(case, found, SHOWN_MEMBERS if members else ()))]


def amplified(case: Case, suspect: Suspect) -> list[Probe]:
    """The additive triggers that were found, louder, where the label is cheap in that form: the natural ones of other labels are dearer
    then, and work louder too."""
    found = [trigger for trigger in suspect.known if cheap(suspect, trigger)]
    return at_work(case, suspect, [probe for trigger in found for probe in louder(trigger, LOUDER)])


def cheap(suspect: Suspect, trigger: Inverted) -> bool:
    """Whether an additive trigger costs clearly less than other labels': the budget lies halfway, as a geometric mean. Nobody can be
    compared with the label after each image's own."""
    return (
        suspect.label != NEXT and trigger.form == Additive.name and trigger.cost**2 <= CHEAP * suspect.budgets.get(Additive.name, 0.0) ** 2
    )


def unheard(case: Case, suspect: Suspect) -> list[Probe]:
    """One more, inverted afresh in the original, louder: no repair is shown it."""
    if not any(cheap(suspect, trigger) for trigger in suspect.known):
        return []
    trigger = invert(case, Aim(suspect.label, Additive.name, case.seed + FINAL), EFFORT)
    return at_work(case, suspect, louder(trigger, LOUDER[-1:]))


def at_work(case: Case, suspect: Suspect, tried: Sequence[Probe]) -> list[Probe]:
    """Those that work in the original."""
    some = case.choose if suspect.label == NEXT else Split(case.learn.stored[:SHOWN], case.learn.labels[:SHOWN])
    return [probe for probe in tried if probed(case, suspect.label, probe, some, {}) >= WORKED]


def generated(original: Case, hardened: Case, suspect: Suspect, edits: Mapping[str, Edit]) -> tuple[float, float]:
    """What generators reach on the judge images: for the label in the hardened model, and at most for the labels of `other` (one at
    least) in the original. They see a backdoor that covers the whole image where patterns within the budgets no longer do."""
    drawn = suspect.by_image()
    aims = [(hardened, suspect.label, edits), *((original, label, {}) for label in sorted(set(suspect.other.values())))]
    jobs = [partial(fresh, case, replace(drawn, label=label), Drawn.name, case.seed + FINAL, to) for case, label, to in aims]
    made = side_by_side(jobs, original.device)
    own, *others = (success(case.subject, trigger, case.judge, to) for (case, _, to), trigger in zip(aims, made, strict=True))
    return own, max(others)


def natural(case: Case, suspect: Suspect) -> dict[str, float]:
    """By form, the success of the same inversion for another label in the original, on the choose images; 0 where there is no other."""
    forms = [form for form in suspect.budgets if form in suspect.other]
    jobs = [partial(fresh, case, replace(suspect, label=suspect.other[form]), form, case.seed, {}) for form in forms]
    made = side_by_side(jobs, case.device)
    found = {form: success(case.subject, trigger, case.choose) for form, trigger in zip(forms, made, strict=True)}
    return {form: found.get(form, 0.0) for form in suspect.budgets}


__all__ = ["HIGH", "OTHER_MEMBERS", "Found", "Suspect", "amplified", "at_work", "generated", "hardest", "natural", "unheard", "working"]
