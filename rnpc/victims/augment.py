"""Augmentation on whole batches: each image shifted by a few pixels each way, and mirrored where the data set allows it."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

SHIFT = 2


def augment(images: Tensor, flip: bool, generator: torch.Generator, shift: int = SHIFT) -> Tensor:
    """float [n, C, H, W] in [0, 1] to the same, shifted by up to `shift` pixels (black comes in at the edges) and, with `flip`, mirrored
    at random.

    All draws come from `generator`, on the processor. Memory stays channels last.
    """
    count, _, height, width = images.shape
    draws = torch.randint(0, 2 * shift + 1, (2, count, 1), generator=generator)
    rows, columns = (draw + torch.arange(side) for draw, side in zip(draws, (height, width), strict=True))
    if flip:
        mirrored = torch.rand((count, 1), generator=generator) < 0.5
        columns = torch.where(mirrored, columns.flip(1), columns)
    padded = F.pad(images.permute(0, 2, 3, 1), (0, 0, shift, shift, shift, shift))
    which, rows, columns = (i.to(images.device) for i in (torch.arange(count)[:, None, None], rows[:, :, None], columns[:, None, :]))
    return padded[which, rows, columns].permute(0, 3, 1, 2)
