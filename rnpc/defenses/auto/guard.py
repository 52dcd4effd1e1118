"""The guard of clean images: a channel falls only if clean images hardly notice.

Importance is a gradient's estimate; before a channel joins the cut its true cost is measured: the mean cross-entropy on a strained copy of
the learn images (`study.strain`), with the cut so far. A channel, or the neighbours tried with it, that raises it
by more than `TOLERANCE` nats is passed over. The strained copy stands for images that the model finds harder than those it may have been
trained on.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import islice

import torch
from torch.nn import functional as F

from rnpc.study.subject import BATCH, Split, Subject
from rnpc.study.surgery import Channel, edits_of

TOLERANCE = 0.01
PATIENCE, TOGETHER = 40, 8


def clean_loss(subject: Subject, data: Split, cut: Sequence[Channel]) -> float:
    """Mean cross-entropy with the channels cut."""
    edits, total = edits_of(subject, cut), 0.0
    with torch.no_grad(), subject.precision():
        for pixels, labels in data.parts(subject.at_once(BATCH)):
            total += float(F.cross_entropy(subject.logits(pixels, edits).float(), labels, reduction="sum"))
    return total / len(data)


def spared(subject: Subject, order: Sequence[Channel], taken: Sequence[Channel], data: Split) -> Iterator[Channel]:
    """The channels of `order` that may fall, one after the other, each judged with those before it and `taken` cut.

    Neighbours are tried together first, `TOGETHER` at a time, and by halves where they cost too much. The last channel of a site never
    falls. After `PATIENCE` channels in a row that may not fall, those behind them are not tried.
    """
    watch = Watch(subject, list(taken), data)
    waiting = iter(order)
    while watch.refused < PATIENCE and (group := list(islice(waiting, TOGETHER))):
        yield from watch.admit(group)


class Watch:
    """The channels that fell so far, the loss with them, and how many were refused since the last that was not."""

    def __init__(self, subject: Subject, cut: list[Channel], data: Split) -> None:
        self.subject, self.cut, self.data, self.refused = subject, cut, data, 0
        self.loss = clean_loss(subject, data, cut)
        self.left = Counter({site.value: site.channels for site in subject.sites})
        self.left.subtract(channel.site for channel in cut)

    def admit(self, group: list[Channel]) -> Iterator[Channel]:
        """Those of the group that may fall."""
        group = [c for place, c in enumerate(group) if self.left[c.site] - sum(other.site == c.site for other in group[:place]) > 1]
        if not group or self.refused >= PATIENCE:
            return
        after = clean_loss(self.subject, self.data, [*self.cut, *group])
        if after - self.loss <= TOLERANCE:
            self.cut += group
            self.left.subtract(channel.site for channel in group)
            self.loss, self.refused = after, 0
            yield from group
        elif len(group) == 1:
            self.refused += 1
        else:
            half = len(group) // 2
            yield from self.admit(group[:half])
            yield from self.admit(group[half:])
