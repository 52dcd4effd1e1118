"""The constants that cut channels become.

A cut channel is a constant for every image, and which one is free: it acts like a bias of the layers behind it. Its clean mean is where the
search starts; then the constants of all cut channels are learnt together on the learn images, by Adam, to minimise

    KL(before || after) on clean images + weight * KL(before on the clean image || after on the triggered one):

the cut model is to answer as the original does (as far as `study.teacher` believes it), and triggered images as if they were not. With
weight 0 it is a repair of the cut alone. The weights of the model are not touched.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor
from torch.nn import functional as F

from rnpc.program import FilterSite
from rnpc.study.activations import Scores
from rnpc.study.case import Case
from rnpc.study.inversion import Inverted
from rnpc.study.strain import mixed, strained
from rnpc.study.subject import Subject
from rnpc.study.surgery import Channel
from rnpc.study.teacher import believed, of_mixture
from rnpc.twin.module import Edit

BATCH, LEAST, RATE = 32, 8, 0.05
"""Clean images a step (and as many triggered ones), fewest of them, and the rate of Adam in standard deviations of a channel."""


class Constants:
    """The constants of cut channels, as offsets from their values now, in units of the channels' standard deviations on clean images."""

    def __init__(self, subject: Subject, channels: Sequence[Channel], deviations: Scores) -> None:
        self.channels, places = channels, {site.value: site for site in subject.sites}
        names = sorted({channel.site for channel in channels})
        self.deviations = {name: deviations[name].float().to(subject.device) for name in names}
        self.offsets = {name: torch.zeros(places[name].channels, device=subject.device, requires_grad=True) for name in names}
        self.base = {name: torch.zeros(places[name].channels, device=subject.device) for name in names}
        self.keep = {name: torch.ones(places[name].channels, device=subject.device) for name in names}
        for channel in channels:
            self.base[channel.site][channel.index], self.keep[channel.site][channel.index] = channel.value, 0.0
        self.edits = {name: self.edit(places[name]) for name in names}

    def edit(self, site: FilterSite) -> Edit:
        """Replaces the cut channels of a site."""
        name = site.value

        def apply(value: Tensor) -> Tensor:
            view = [1] * value.ndim
            view[site.axis] = site.channels
            add = (self.base[name] + self.offsets[name] * self.deviations[name]) * (1 - self.keep[name])
            return value * self.keep[name].view(view).to(value.dtype) + add.view(view).to(value.dtype)

        return apply

    def settled(self) -> list[Channel]:
        """The channels with the constants as they are now."""
        values = {name: (self.base[name] + self.offsets[name] * self.deviations[name]).detach().cpu() for name in self.base}
        return [replace(channel, value=float(values[channel.site][channel.index])) for channel in self.channels]


def settle(
    case: Case,
    channels: Sequence[Channel],
    deviations: Scores,
    triggers: Sequence[Inverted],
    *,
    doubt: int | None,
    weight: float,
    steps: int,
) -> list[Channel]:
    """`channels` with constants learnt on the learn images; `deviations`: standard deviation of each channel of each site; `doubt`: the
    label of which the original is not believed on mixtures, if any."""
    subject, data = case.subject, case.learn
    constants = Constants(subject, channels, deviations)
    leaves, generator = list(constants.offsets.values()), torch.Generator().manual_seed(case.seed)
    adam, plain = torch.optim.Adam(leaves, lr=RATE), F.log_softmax(subject.scores(data), 1)
    for step in range(steps):
        rows = torch.randperm(len(data), generator=generator)[: subject.at_once(BATCH, LEAST)].to(subject.device)
        shown, wanted = data.pixels(rows), plain[rows]
        if step % 2:
            made = mixed(strained(shown, generator), generator)
            shown, sources = made.pixels, of_mixture(wanted, made.others, made.share)
            with torch.no_grad(), subject.precision():
                wanted = believed(F.log_softmax(subject.logits(shown).float(), 1), sources, doubt)
        if weight:
            shown, wanted = torch.cat([shown, triggers[step % len(triggers)].apply(shown)]), torch.cat([wanted, wanted])
        with subject.precision():
            found = F.log_softmax(subject.logits(shown, constants.edits).float(), 1)
        apart = F.kl_div(found, wanted, log_target=True, reduction="none").sum(1)
        loss = apart[: len(rows)].mean() + (weight * apart[len(rows) :].mean() if weight else 0.0)
        adam.zero_grad()
        torch.autograd.backward(loss, inputs=leaves)
        for group in adam.param_groups:
            group["lr"] = RATE * (1 - step / steps)
        adam.step()
    return constants.settled()
