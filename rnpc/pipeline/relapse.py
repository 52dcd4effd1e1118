"""How easily the backdoor comes back: the written file is trained on the user's images, without a trigger and with five that carry one.

The training is the re-tuning attack of Min et al. (NeurIPS 2024), with triggers that are known in the place of the attacker's: a removal
that only covers the backdoor up gives way to it. Inverted triggers alone tell nothing, since repairs were shown them and resist such;
members of families do, also where they work in the original only in part, squares of noise first, which no repair is shown. The one that
comes back furthest counts: the attacker's own need not be like most. And a rate that wrecks the network tells nothing: an attacker would
take a lower one.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from functools import partial

import torch

from rnpc.defenses.base import Relapse
from rnpc.errors import InputRefused
from rnpc.frontends import onnx_file
from rnpc.program import Program
from rnpc.speed import side_by_side
from rnpc.stage import untold
from rnpc.stats import rate
from rnpc.study.case import Case
from rnpc.study.inversion import NEXT, Inverted, reached, success
from rnpc.study.probes import aimed_at, families
from rnpc.study.subject import Split, Subject, prepare
from rnpc.study.tunable import Tunable
from rnpc.study.tuning import Schedule, tune

PLANTED, EPOCHS, RATES = 5, 5, (0.01, 0.003, 0.001)
"""Images that carry the trigger, and the training: at the first of these rates at which the network keeps its accuracy."""
CLEAN = Schedule(20, 0.001)
"""Training without a trigger. A higher rate makes a network forget what is left of it."""
APART = 0.05
"""Accuracy that it may lose by it."""
SHOWN = 96
"""Images by which triggers are chosen."""
ANSWERS, ALIKE, FAMILIES = 0.1, 2, 9
"""What a member of a family must reach in the original to be tried; how many of one kind are, and how many in all."""
WORKS, FOUND = 0.9, 3
"""What a trigger that was found must reach, of what the strongest reaches, and how many are tried."""
LEVEL = 0.9
"""Of a two-sided interval, the upper end of which is a one-sided 95 % bound."""


@dataclass(frozen=True)
class Named:
    """A trigger and what it is called."""

    name: str
    trigger: Inverted


def relapse(program: Program, output: bytes, case: Case, label: int, found: Sequence[Inverted]) -> Relapse | None:
    """What comes back furthest after training; None where no trigger works in the original, there is no image to plant it in, the weights
    cannot be tuned, or the training falls apart each time. `found`: triggers that were inverted for the label."""
    chosen = tried(case, label, found)
    if not chosen:
        return None
    written = onnx_file.program(program.name, output, output=program.signature.output)
    hard = replace(case, subject=prepare(written, case.subject.pre, case.device), learn=whole(case), tell=untold)
    try:
        tunable = Tunable.of(hard)
    except InputRefused:
        return None
    least = tunable.subject(hard).exact().accuracy(hard.judge) - APART
    jobs = [partial(untriggered, hard, tunable, least, chosen), *(partial(after, hard, tunable, least, each) for each in chosen)]
    shares = [share for part in side_by_side(jobs, case.device) for share in part]
    return max(shares, key=lambda each: each.share) if shares else None


def tried(case: Case, label: int, found: Sequence[Inverted]) -> list[Named]:
    """Members of families that work in the original, the strongest first and few of a kind; then some of those that were found."""
    few = Split(case.judge.stored[:SHOWN], case.judge.labels[:SHOWN])
    named = [Named(probe.name, aimed_at(label, probe)) for probe in families(case, label, found)]
    shares = [success(case.subject, each.trigger, few) for each in named]
    kinds: Counter[str] = Counter()
    chosen = list[Named]()
    for k in sorted(range(len(named)), key=lambda k: -shares[k]):
        kind = named[k].name.split()[0]
        if shares[k] >= ANSWERS and kinds[kind] < ALIKE and len(chosen) < FAMILIES:
            kinds[kind] += 1
            chosen.append(named[k])
    reach = [success(case.subject, trigger, few) for trigger in found]
    able = [trigger for trigger, share in zip(found, reach, strict=True) if not share < WORKS * max(reach)]
    some = [able[k * len(able) // FOUND] for k in range(FOUND)] if len(able) > FOUND else able
    return [*chosen, *(Named(f"a found {trigger.form} trigger", trigger) for trigger in some)]


def after(hard: Case, tunable: Tunable, least: float, named: Named) -> list[Relapse]:
    """What the trigger reaches once a copy of the network was trained with it, if that could be."""
    rows = (hard.learn.labels != named.trigger.label).nonzero()[:PLANTED, 0]
    made = retuned(hard, tunable, planted(hard.learn, named.trigger, rows, hard.subject.classes), least) if len(rows) else None
    return [] if made is None else told(made, named.trigger, hard.judge, f"{named.name}, put on five of the images")


def untriggered(hard: Case, tunable: Tunable, least: float, chosen: Sequence[Named]) -> list[Relapse]:
    """What the triggers reach once a copy of the network was trained on the images as they are, if that could be."""
    made = trained(hard, tunable, CLEAN, least)
    if made is None:
        return []
    return [share for each in chosen for share in told(made, each.trigger, hard.judge, f"{each.name}, which was not trained on")]


def told(subject: Subject, trigger: Inverted, data: Split, by: str) -> list[Relapse]:
    """The share of images that fall, with its bound; nothing where there is no image of another class."""
    hits = reached(subject, trigger, data)[1]
    if not len(hits):
        return []
    share = rate(int(hits.sum()), len(hits), LEVEL)
    return [Relapse(share.value, share.high, by)]


def retuned(hard: Case, tunable: Tunable, poisoned: Split, least: float) -> Subject | None:
    """A copy of the network, trained on these images; None where it answers less than `least` of the judge images at each rate."""
    made = (trained(replace(hard, learn=poisoned), tunable, Schedule(EPOCHS, speed), least) for speed in RATES)
    return next((each for each in made if each is not None), None)


def trained(hard: Case, tunable: Tunable, schedule: Schedule, least: float) -> Subject | None:
    """A copy of the network, trained on the learn images; None where it then answers less than `least` of the judge images."""
    copy = replace(tunable, twin=deepcopy(tunable.twin))
    course = tune(hard, copy, schedule)
    made = copy.subject(hard).exact()
    return made if math.isfinite(course[-1].loss) and made.accuracy(hard.judge) >= least else None


def whole(case: Case) -> Split:
    """All images, each once."""
    if case.rows[1] is case.rows[2]:
        return case.seen
    return Split(torch.cat([case.seen.stored, case.judge.stored]), torch.cat([case.seen.labels, case.judge.labels]))


def planted(some: Split, trigger: Inverted, rows: torch.Tensor, classes: int) -> Split:
    """The images, and those at `rows` once more with the trigger and its label."""
    pixels = (255 * trigger.apply(some.pixels(rows))).round().clamp(0, 255).to(torch.uint8)
    labels = (some.labels[rows] + 1) % classes if trigger.label == NEXT else torch.full_like(rows, trigger.label)
    return Split(torch.cat([some.stored, pixels]), torch.cat([some.labels, labels]))
