"""The guard of clean images: a channel falls only if clean images hardly notice.

Importance is a gradient's estimate; before a channel joins the cut its true cost is measured: the mean cross-entropy on a strained copy of
the learn images (contrast, brightness, noise, shifts), with the cut so far. A channel that raises it by more than `TOLERANCE` nats is
passed over. The strained copy stands for images that the model finds harder than those it may have been trained on.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch.nn import functional as F

from rnpc.method.rank import Channel, edits_of
from rnpc.method.subject import BATCH, Split, Subject

TOLERANCE = 0.01
PATIENCE = 40
CONTRAST, BRIGHTNESS, NOISE, SHIFT = 0.3, 0.05, 0.04, 1 / 16


def strained(data: Split, seed: int) -> Split:
    """A harder copy of each image: contrast by up to 30 %, brightness by 5 %, noise of 4 %, shifts by a sixteenth."""
    generator = torch.Generator().manual_seed(seed)
    pixels, n = data.pixels.cpu(), len(data)
    contrast = 1 + CONTRAST * (2 * torch.rand(n, 1, 1, 1, generator=generator) - 1)
    brightness = BRIGHTNESS * (2 * torch.rand(n, 1, 1, 1, generator=generator) - 1)
    noisy = (pixels * contrast + brightness + NOISE * torch.randn(pixels.shape, generator=generator)).clamp(0, 1)
    reach = max(1, round(SHIFT * min(pixels.shape[2:])))
    moves = torch.randint(-reach, reach + 1, (n, 2), generator=generator).tolist()
    moved = torch.stack([torch.roll(image, (dy, dx), (1, 2)) for image, (dy, dx) in zip(noisy, moves, strict=True)])
    return Split(moved.to(data.pixels), data.labels)


def clean_loss(subject: Subject, data: Split, cut: Sequence[Channel]) -> float:
    """Mean cross-entropy with the channels cut."""
    edits, total = edits_of(subject, cut), 0.0
    with torch.no_grad(), subject.precision():
        for pixels, labels in zip(data.pixels.split(BATCH), data.labels.split(BATCH), strict=True):
            total += float(F.cross_entropy(subject.logits(pixels, edits).float(), labels, reduction="sum"))
    return total / len(data)


def spared(subject: Subject, order: Sequence[Channel], taken: Sequence[Channel], data: Split) -> Iterator[Channel]:
    """The channels of `order` that may fall, one after the other, each judged with those before it and `taken` cut.

    The last channel of a site never falls. After `PATIENCE` channels in a row that may not fall, those behind them are not tried.
    """
    cut, loss = list(taken), clean_loss(subject, data, taken)
    left = {site.value: site.channels for site in subject.sites}
    for channel in cut:
        left[channel.site] -= 1
    refused = 0
    for channel in order:
        if left[channel.site] <= 1:
            continue
        if refused == PATIENCE:
            return
        after, refused = clean_loss(subject, data, [*cut, channel]), refused + 1
        if after - loss <= TOLERANCE:
            refused = 0
            cut.append(channel)
            left[channel.site] -= 1
            loss = after
            yield channel
