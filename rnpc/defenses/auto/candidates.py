"""The ways to harden that are worth judging, and the one that is taken.

What a way would cost on images that nobody looked at is guessed first: its `harm` is KL(original || hardened) in nats on strained copies of
the images that the search sees (accuracy on these says nothing, they were fitted to). The cut as it is comes first; where it leaves too
much or harms, it is repaired. Repairs start in the middle of the search's path: half of the cut is hardly missed by clean images, and the
repair does the rest; only where that leaves too much is the whole cut repaired too. Blends of noise run through all channels: where no cut
is gentle, they are repaired without one. Points on the line from the original to a repair take part as well: near the original harm grows
with the square of the way, and the backdoor goes before its end. Where nothing may be retrained there are the smaller cuts, and the cut
with gentler constants.

Candidates are judged in the order of their harm until one breaks the bound, and the last that holds is taken: a fixed sequence, which keeps
the level of 95 %. Only those take part that leave clearly less than any with less harm, and last of all a repair that was made to last: it
spends what is left of the budget on the way back to the original's weights, along which the backdoor would come again.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
from torch import Tensor
from torch.nn import functional as F

from rnpc.defenses.auto import battery, cut
from rnpc.defenses.auto.battery import Found, Suspect
from rnpc.defenses.auto.constants import settle
from rnpc.defenses.auto.repair import Repaired, Task, lasting, partly, repair
from rnpc.errors import InputRefused
from rnpc.stats import drop_bound
from rnpc.study.case import Case
from rnpc.study.probes import Probe
from rnpc.study.subject import Split
from rnpc.study.surgery import Channel, edits_of
from rnpc.study.teacher import among_others, asked, doubted
from rnpc.twin.module import Edit

HARMLESS, LESS = 0.03, 0.03
"""Harm (nats) of a cut that needs no repair; by how much (of 1) a candidate that harms more must leave less."""
ROUGH, GENTLE = 0.1, 0.1
"""Harm (nats) of a repair beside which another kind of steps is tried; largest of a cut from which the repair of a blend starts."""
ALONG, BENT = (0.7, 0.49), 1.2
"""Points of a repair's line: each has half of the harm of the next. What is measured there may be so many times the end's: on a line
that leads through worse networks nothing is gentler. Where the original lies its word on that counts for nothing, and a line without a
cut, which begins at the original itself, has all its points."""


@dataclass(frozen=True)
class Candidate:
    """A way to harden: its channels, the repaired network where there is one, what is left (on the choose images), its harm, and whether
    it is judged after all others, whatever it harms (`final`)."""

    channels: tuple[Channel, ...]
    repaired: Repaired | None
    left: Found
    harm: float = 0.0
    final: bool = False

    @property
    def lasts(self) -> bool:
        """Whether it is a repair that was made to last."""
        return self.final and self.repaired is not None


@dataclass(frozen=True)
class Held:
    """What is `taken` (None: nothing), its accuracy drop on the judge images with the bound (the gentlest one's where nothing is), and the
    limit that the bound was held to."""

    taken: Candidate | None = None
    drop: float = float("nan")
    bound: float = float("nan")
    limit: float = float("nan")


@dataclass(frozen=True)
class Ways:
    """What all candidates are made of: the goal, the finished search, the label for the battery, the probes that worked, those that only
    judge what is taken (`unheard`). `refused` takes why a repair could not be made."""

    goal: cut.Goal
    search: cut.Search
    suspect: Suspect
    worked: Sequence[Probe]
    unheard: Sequence[Probe] = ()
    refused: list[str] = field(default_factory=list)

    @property
    def case(self) -> Case:
        """The goal's."""
        return self.goal.case

    @property
    def most(self) -> float:
        """What a candidate may leave: half of the trigger's strength."""
        return cut.HALF * max(self.search.cuts[0].success.values())

    @cached_property
    def whole(self) -> Candidate | None:
        """The cut that the search chose."""
        return None if self.search.chosen is None else self.weighed(Candidate(self.search.made[self.search.chosen], None, self.reached))

    def gentler(self) -> list[Candidate]:
        """The cuts before the chosen one that took at least half of the trigger's strength, and that one with the constants that harm clean
        images least, whatever triggers do with them."""
        search, chosen = self.search, self.search.chosen
        if chosen is None:
            return []
        most = cut.HALF * search.excess(search.cuts[0].success)
        made = [search.made[i] for i in range(1, chosen) if search.excess(search.cuts[i].success) <= most]
        found = [*map(self.pruned, made), self.calm(search.made[chosen])]
        return [each for each in found if each.left.success <= self.most]

    def beside(self, whole: Candidate) -> list[Candidate]:
        """What may be written if a cut that needs no repair is refused: the first half of its channels, and all of them, with the constants
        that harm clean images least; each where it takes half of the trigger's strength."""
        half = whole.channels[: len(whole.channels) // 2]
        return [each for each in map(self.calm, filter(None, (half, whole.channels))) if each.left.success <= self.most]

    def calm(self, channels: Sequence[Channel]) -> Candidate:
        """These channels with the constants that harm clean images least."""
        return self.pruned(tuple(settle(self.case, channels, self.goal.deviations, (), doubt=self.goal.doubted, weight=0.0, steps=96)))

    def pruned(self, channels: tuple[Channel, ...]) -> Candidate:
        """A cut of these channels."""
        return self.weighed(Candidate(channels, None, self.left(channels)))

    def repaired(self, enough: float) -> Iterator[Candidate]:
        """Repairs that take at least half of the trigger's strength away, until one leaves at most `enough`, which is then made to last."""
        for channels in self.starts():
            task = Task(self.suspect, channels, self.worked, self.reached, enough, self.goal.doubted)
            ends = self.ends(task)
            for end in (end for end in ends if end.left.success <= self.most):
                yield end
                yield from (point for point in self.along(task, end) if point.left.success <= self.most)
            if not ends or min(end.left.success for end in ends) <= enough:
                yield from self.lasting(task, [end for end in ends if end.left.success <= enough])
                return

    def lasting(self, task: Task, ends: Sequence[Candidate]) -> Iterator[Candidate]:
        """The gentlest of these repairs made to last."""
        end = min(ends, key=lambda end: end.harm, default=None)
        made = None if end is None or end.repaired is None else lasting(self.case, task, end.repaired)
        if made is not None:
            yield replace(self.weighed(Candidate(task.channels, made, made.left)), final=True)

    def ends(self, task: Task) -> list[Candidate]:
        """Repairs of a start. Where louder triggers work and these leave half of what is enough or more, others that are shown them: they
        harm more."""
        ends, why = self.tuned(task)
        if not ends:  # pruning alone is what there is
            self.refused.append(f"it was not repaired: {why}")
        elif any(probe.louder for probe in self.worked) and min(end.left.success for end in ends) > task.enough / 2:
            ends += self.tuned(replace(task, aloud=True))[0]
        return ends

    def tuned(self, task: Task) -> tuple[list[Candidate], str]:
        """A repair by SGD, and where that harms or falls apart one by Adam: which is gentler differs from network to network. With why one
        could not be made."""
        ends, why = list[Candidate](), ""
        for adam in (False, True):
            try:
                ends.append(self.end(task, adam))
            except InputRefused as error:  # weights that cannot be tuned, or a network that falls apart
                why = error.what
                continue
            if ends[-1].harm <= ROUGH:
                break
        return ends, why

    def end(self, task: Task, adam: bool) -> Candidate:
        """One repair. Raises InputRefused where it cannot be made."""
        tuned = repair(self.case, task, adam)
        return self.weighed(Candidate(task.channels, tuned, tuned.left))

    def along(self, task: Task, end: Candidate) -> Iterator[Candidate]:
        """Points of the line to a repair; what they harm follows from its end, since copies of images that it was fitted to flatter it."""
        assert end.repaired is not None
        straight = self.goal.doubted is not None and not end.channels
        for part in ALONG:
            repaired = partly(self.case, task, end.repaired, part)
            point = self.weighed(Candidate(end.channels, repaired, repaired.left))
            if straight or point.harm <= BENT * end.harm:
                yield replace(point, harm=part**2 * end.harm)

    def starts(self) -> list[tuple[Channel, ...]]:
        """Channels that repairs start from: half of the path to the cut, then all of it; half of the whole path where no cut was chosen.

        None where the original lies and no cut is gentle: noise runs through all channels, and those that fall are only missed."""
        made, chosen = self.search.made, self.search.chosen
        if self.goal.doubted is not None and (self.whole is None or self.whole.harm > GENTLE):
            return [()]
        if chosen is None:
            return [made[(len(made) - 1) // 2]]
        return [made[chosen]] if chosen < 2 else [made[chosen // 2], made[chosen]]

    @cached_property
    def reached(self) -> Found:
        """What the battery finds on the choose images after the cut; in the original where none was chosen."""
        return self.left(() if self.search.chosen is None else self.search.made[self.search.chosen])

    def left(self, channels: Sequence[Channel]) -> Found:
        """What it finds with these channels cut."""
        return battery.hardest(self.case, self.suspect, edits_of(self.case.subject, channels), self.case.choose, self.worked)

    @cached_property
    def strained(self) -> tuple[Split, Tensor, Tensor]:
        """Copies of what the search sees on which the original is believed, what it says of the images [n, K] and of the copies."""
        found = asked(self.case)
        sound = ~doubted(found.said, found.plain, self.goal.doubted)
        return found.data.take(sound), found.plain[sound], found.said[sound]

    def weighed(self, candidate: Candidate) -> Candidate:
        """With its harm."""
        (data, plain, before), doubt = self.strained, self.goal.doubted
        hard, edits = model_of(self.case, candidate)
        after = F.log_softmax(hard.subject.scores(data, edits), 1)
        told, wanted = (among_others(each, plain, doubt) for each in (after, before))
        return replace(candidate, harm=float(F.kl_div(told, wanted, log_target=True, reduction="batchmean")))


def gathered(ways: Ways, enough: float, natural: float, mended: bool) -> list[Candidate]:
    """All candidates; `mended`: repairs are allowed. They are made where the cut leaves more than is `natural` or costs accuracy, until one
    leaves at most `enough`."""
    whole = ways.whole
    if whole is not None and whole.left.success <= (natural if mended else enough) and whole.harm <= HARMLESS:
        return [*ways.beside(whole), replace(whole, final=True)]
    found = list(ways.repaired(enough)) if mended else []
    return [*([] if whole is None or whole.left.success > ways.most else [whole]), *(found or ways.gentler())]


def in_turn(candidates: Sequence[Candidate]) -> list[Candidate]:
    """Those worth judging, in the order of their harm: each leaves clearly less than those before it. A final one comes last, and must not
    leave clearly more."""
    found = list[Candidate]()
    for candidate in sorted(candidates, key=lambda c: (c.final, c.harm, c.left.success, len(c.channels))):
        if not found or candidate.left.success <= found[-1].left.success + (LESS if candidate.final else -LESS):
            found.append(candidate)
    return found


def held(case: Case, candidates: Sequence[Candidate]) -> Held:
    """The last candidate in turn before the bound of the drop on the judge images breaks. Where the first one breaks the budget, what the
    case allows at most counts for all."""
    exact, best = case.exact(), Held(limit=case.max_drop)
    before = (exact.subject.predict(case.judge) == case.judge.labels).cpu().numpy()
    for candidate in in_turn(candidates):
        drop, bound = drop_bound(before, answers(exact, candidate, case.judge))
        limit = case.allowed(before) if best.taken is None and bound > case.max_drop else best.limit
        if bound > limit:
            return best if best.taken is not None else Held(None, drop, bound, limit)
        best = Held(candidate, drop, bound, limit)
    return best


def answers(case: Case, candidate: Candidate, data: Split) -> np.ndarray:
    """Whether each image is answered rightly."""
    hard, edits = model_of(case, candidate)
    right: np.ndarray = (hard.subject.predict(data, edits) == data.labels).cpu().numpy()
    return right


def model_of(case: Case, candidate: Candidate) -> tuple[Case, Mapping[str, Edit]]:
    """The case with the candidate's network, and its edits."""
    if candidate.repaired is None:
        return case, edits_of(case.subject, candidate.channels)
    tunable = candidate.repaired.tunable
    return replace(case, subject=tunable.subject(case)), tunable.edits
