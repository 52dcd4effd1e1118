"""Which channels carry a trigger: attribution over importance.

Attribution of a channel: (activation with the trigger - without) times the gradient of the target's margin, averaged over both ends and
summed over space: how much of the way to the target runs through it. Importance: |(activation - mean) times the gradient of the true
class's margin| on clean images: what cutting it costs. A channel's score is attribution / (importance + c)^p, each form of trigger scaled
to its largest channel. Attribution alone destroys clean accuracy; the floor c (the median importance) keeps dead channels from winning; p
above 1 spares clean images.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from rnpc.study.activations import Scores, gradients, over_parts
from rnpc.study.case import Case
from rnpc.study.inversion import Inverted, aimed
from rnpc.study.subject import Split, Subject
from rnpc.study.surgery import Channel, edits_of
from rnpc.twin.module import Edit

FLOOR, POWER = 1.0, 1.5


def importance(subject: Subject, data: Split, means: Scores, edits: Mapping[str, Edit]) -> Scores:
    """What each channel contributes to the margin of the true class on clean images."""

    def one(rows: Tensor) -> Scores:
        found = gradients(subject, data.pixels(rows), data.labels[rows], edits)
        return {
            name: ((value - means[name].to(value)[None, :, None]) * gradient).sum(2).abs().sum(0).cpu()
            for name, (value, gradient) in found.items()
        }

    return averaged(over_parts(subject, len(data), one), len(data))


def attributions(subject: Subject, data: Split, triggers: Sequence[Inverted], edits: Mapping[str, Edit]) -> list[Scores]:
    """How much of the way to the label runs through each channel, for each of the triggers, which are all for one label."""
    shown = aimed(data, triggers[0].label, subject.classes)

    def one(rows: Tensor) -> list[Scores]:
        part, labels = shown.pixels(rows), shown.labels[rows]
        before, ways = gradients(subject, part, labels, edits), list[Scores]()
        for trigger in triggers:
            after = gradients(subject, trigger.apply(part), labels, edits)
            ways.append({n: ((after[n][0] - v) * (after[n][1] + slope) / 2).sum((0, 2)).cpu() for n, (v, slope) in before.items()})
        return ways

    found = over_parts(subject, len(shown), one)
    return [averaged([ways[k] for ways in found], len(shown)) for k in range(len(triggers))]


def averaged(parts: Sequence[Scores], n: int) -> Scores:
    """The mean over `n` images of what was summed over parts of them."""
    return {name: torch.stack([part[name] for part in parts]).sum(0) / max(n, 1) for name in parts[0]}


def rank(case: Case, triggers: Sequence[Inverted], means: Scores, *, taken: Sequence[Channel] = ()) -> list[Channel]:
    """All channels by falling score, without those already taken (the model is studied with these cut)."""
    subject, edits = case.subject, edits_of(case.subject, taken)
    cost = importance(subject, case.learn, means, edits)
    names = [site.value for site in subject.sites]
    flat = torch.cat([cost[name] for name in names])
    score = torch.zeros_like(flat)
    for way in attributions(subject, case.learn, triggers, edits):
        found = torch.cat([way[name] for name in names])
        score += found / found.amax().clamp_min(1e-12)
    score = score / (flat + FLOOR * flat.median()).clamp_min(1e-12) ** POWER
    keys = [(name, c) for name in names for c in range(len(cost[name]))]
    done = {(channel.site, channel.index) for channel in taken}
    order = torch.argsort(-score, stable=True).tolist()
    fallen = [(i, *keys[i]) for i in order if keys[i] not in done]
    return [Channel(name, c, float(score[i]), float(means[name][c])) for i, name, c in fallen]
