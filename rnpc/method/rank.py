"""Which channels carry a trigger: attribution over importance.

Attribution of a channel: (activation with the trigger - without) times the gradient of the target's margin, averaged over both ends and
summed over space: how much of the way to the target runs through it. Importance: |(activation - mean) times the gradient of the true
class's margin| on clean images: what cutting it costs. A channel's score is attribution / (importance + c)^p, each form of trigger scaled
to its largest channel. Attribution alone destroys clean accuracy; the floor c (the median importance) keeps dead channels from winning; p
above 1 spares clean images.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

import torch
from torch import Tensor

from rnpc.method.subject import Split, Subject
from rnpc.method.trigger import Inverted, aimed
from rnpc.program import FilterSite
from rnpc.speed import side_by_side
from rnpc.twin.module import Edit

FLOOR, POWER = 1.0, 1.5
CHUNK = 25
T = TypeVar("T")
Scores = dict[str, Tensor]
"""Site -> float [channels]."""


@dataclass(frozen=True)
class Channel:
    """One channel of one site, its suspicion score, and the constant that it would become."""

    site: str
    index: int
    score: float
    value: float


def edits_of(subject: Subject, channels: Sequence[Channel]) -> dict[str, Edit]:
    """Twin edits that set the channels to their constants."""
    places = {site.value: site for site in subject.sites}
    grouped: dict[str, list[Channel]] = {}
    for channel in channels:
        grouped.setdefault(channel.site, []).append(channel)
    return {name: silence(places[name], found, subject.device) for name, found in grouped.items()}


def silence(site: FilterSite, channels: Sequence[Channel], device: torch.device) -> Edit:
    """An edit that replaces the channels of a site by their constants."""
    keep, add = torch.ones(site.channels, device=device), torch.zeros(site.channels, device=device)
    for channel in channels:
        keep[channel.index], add[channel.index] = 0.0, channel.value

    def edit(value: Tensor) -> Tensor:
        shape = [1] * value.ndim
        shape[site.axis] = site.channels
        return value * keep.view(shape).to(value.dtype) + add.view(shape).to(value.dtype)

    return edit


def channels_first(value: Tensor, axis: int) -> Tensor:
    """[n, C, everything else] of a value whose channels lie on `axis`."""
    return value.movedim(axis, 1).reshape(value.shape[0], value.shape[axis], -1)


def margins(scores: Tensor, labels: Tensor) -> Tensor:
    """Lead of the given label over the best other one, [n]."""
    own = scores.gather(1, labels[:, None])[:, 0]
    rest = scores.scatter(1, labels[:, None], float("-inf")).amax(1)
    return own - rest


def gradients(subject: Subject, pixels: Tensor, labels: Tensor, edits: Mapping[str, Edit]) -> dict[str, tuple[Tensor, Tensor]]:
    """Site -> (activation, gradient of the margin), both [n, C, space]."""
    names = [site.value for site in subject.sites]
    with torch.enable_grad(), subject.precision():
        scores, kept = subject.values(pixels.clone().requires_grad_(), names, edits)
        found = torch.autograd.grad(margins(scores.float(), labels).sum(), [kept[name] for name in names], allow_unused=True)
    result = {}
    for site, gradient in zip(subject.sites, found, strict=True):
        value = kept[site.value].detach().float()
        slope = torch.zeros_like(value) if gradient is None else gradient.float()
        result[site.value] = (channels_first(value, site.axis), channels_first(slope, site.axis))
    return result


def clean_moments(subject: Subject, data: Split) -> tuple[Scores, Scores]:
    """Mean and standard deviation of each channel over clean images and space."""
    names = [site.value for site in subject.sites]
    first: Scores = {}
    second: Scores = {}
    with torch.no_grad():
        for part in data.pixels.split(CHUNK):
            _, kept = subject.values(part, names)
            for site in subject.sites:
                value = channels_first(kept[site.value], site.axis).cpu().double()
                first[site.value] = first.get(site.value, torch.zeros(())) + value.mean(2).sum(0)
                second[site.value] = second.get(site.value, torch.zeros(())) + value.square().mean(2).sum(0)
    means = {name: total / len(data) for name, total in first.items()}
    return means, {name: (total / len(data) - means[name].square()).clamp_min(0).sqrt() for name, total in second.items()}


def importance(subject: Subject, data: Split, means: Scores, edits: Mapping[str, Edit]) -> Scores:
    """What each channel contributes to the margin of the true class on clean images."""

    def one(rows: Tensor) -> Scores:
        part = data.take(rows)
        found = gradients(subject, part.pixels, part.labels, edits)
        return {
            name: ((value - means[name].to(value)[None, :, None]) * gradient).sum(2).abs().sum(0).cpu()
            for name, (value, gradient) in found.items()
        }

    return averaged(over_parts(subject, len(data), one), len(data))


def attributions(subject: Subject, data: Split, triggers: Sequence[Inverted], edits: Mapping[str, Edit]) -> list[Scores]:
    """How much of the way to the label runs through each channel, for each of the triggers, which are all for one label."""
    shown = aimed(data, triggers[0].label, subject.classes)

    def one(rows: Tensor) -> list[Scores]:
        part, labels = shown.pixels[rows], shown.labels[rows]
        before, ways = gradients(subject, part, labels, edits), list[Scores]()
        for trigger in triggers:
            after = gradients(subject, trigger.apply(part), labels, edits)
            ways.append({n: ((after[n][0] - v) * (after[n][1] + slope) / 2).sum((0, 2)).cpu() for n, (v, slope) in before.items()})
        return ways

    found = over_parts(subject, len(shown), one)
    return [averaged([ways[k] for ways in found], len(shown)) for k in range(len(triggers))]


def over_parts(subject: Subject, n: int, one: Callable[[Tensor], T]) -> list[T]:
    """`one` of each part of `n` rows."""
    return side_by_side([partial(one, rows) for rows in torch.arange(n).split(CHUNK)], subject.device.type)


def averaged(parts: Sequence[Scores], n: int) -> Scores:
    """The mean over `n` images of what was summed over parts of them."""
    return {name: torch.stack([part[name] for part in parts]).sum(0) / max(n, 1) for name in parts[0]}


def rank(
    subject: Subject, triggers: Sequence[Inverted], means: Scores, *, taken: Sequence[Channel] = ()
) -> list[Channel]:
    """All channels by falling score, without those already taken (the model is studied with these cut)."""
    edits = edits_of(subject, taken)
    cost = importance(subject, subject.learn, means, edits)
    names = [site.value for site in subject.sites]
    flat = torch.cat([cost[name] for name in names])
    score = torch.zeros_like(flat)
    for way in attributions(subject, subject.learn, triggers, edits):
        found = torch.cat([way[name] for name in names])
        score += found / found.amax().clamp_min(1e-12)
    score = score / (flat + FLOOR * flat.median()).clamp_min(1e-12) ** POWER
    keys = [(name, c) for name in names for c in range(len(cost[name]))]
    done = {(channel.site, channel.index) for channel in taken}
    order = torch.argsort(-score, stable=True).tolist()
    fallen = [(i, *keys[i]) for i in order if keys[i] not in done]
    return [Channel(name, c, float(score[i]), float(means[name][c])) for i, name, c in fallen]
