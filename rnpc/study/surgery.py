"""Surgery on a twin: channels of filter sites set to constants, as the rewritten file will have them.

Nothing is changed in the twin's weights. A cut is a set of edits that act on a site's value at the moment it is produced. Where the file's
bias is quantised, the constant is what its codes can say.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from rnpc.program import FilterSite
from rnpc.study.subject import Subject
from rnpc.twin.module import Edit


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
        keep[channel.index], add[channel.index] = 0.0, site.held(channel.index, channel.value)

    def edit(value: Tensor) -> Tensor:
        shape = [1] * value.ndim
        shape[site.axis] = site.channels
        return value * keep.view(shape).to(value.dtype) + add.view(shape).to(value.dtype)

    return edit
