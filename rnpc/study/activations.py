"""What the channels of a model do: activations, gradients of the margin, moments on clean images.

Images are looked at in parts of `CHUNK`, side by side, so that memory is bounded by the network and not by the number of images.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TypeVar

import torch
from torch import Tensor

from rnpc.program import FilterSite
from rnpc.speed import side_by_side
from rnpc.study.subject import Split, Subject
from rnpc.twin import Twin
from rnpc.twin.module import Edit

CHUNK = 25
T = TypeVar("T")
Scores = dict[str, Tensor]
"""Site -> float [channels]."""


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
    """Mean and standard deviation of each channel of each site over clean images and space."""
    return moments(subject, subject.twin, subject.sites, data)


def moments(subject: Subject, twin: Twin, sites: Sequence[FilterSite], data: Split) -> tuple[Scores, Scores]:
    """Mean and standard deviation (float64 on the processor) of the channels of `sites` in `twin`, over images and space."""
    names = [site.value for site in sites]
    first: Scores = {}
    second: Scores = {}
    with torch.no_grad():
        for part, _ in data.parts(subject.at_once(CHUNK)):
            _, kept = twin(subject.normalise(part), capture=names)
            for site in sites:
                value = channels_first(kept[site.value], site.axis).cpu().double()
                first[site.value] = first.get(site.value, torch.zeros(())) + value.mean(2).sum(0)
                second[site.value] = second.get(site.value, torch.zeros(())) + value.square().mean(2).sum(0)
    means = {name: total / len(data) for name, total in first.items()}
    return means, {name: (total / len(data) - means[name].square()).clamp_min(0).sqrt() for name, total in second.items()}


def over_parts(subject: Subject, n: int, one: Callable[[Tensor], T]) -> list[T]:
    """`one` of each part of `n` rows."""
    return side_by_side([partial(one, rows) for rows in torch.arange(n).split(subject.at_once(CHUNK))], subject.device.type)
