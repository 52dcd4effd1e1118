"""Harder copies of clean images, and mixtures of them: what a hundred images lack to stand for all that a model may see.

A network that is fitted to few images keeps its answers on these and loses them on others. What is asked of it here is to answer as the
original does, and the original answers any picture, so that pictures may be made: strained copies (contrast, brightness, noise, shifts),
turned ones, and pairs, blended (mixup; Zhang et al., ICLR 2018) or with a rectangle of one in the other (CutMix; Yun et al., ICCV 2019).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from rnpc.study.subject import AREA, Split

CONTRAST, BRIGHTNESS, NOISE, SHIFT = 0.3, 0.05, 0.04, 1 / 16
ANGLE, SCALE, SHEAR = math.radians(15), 0.1, 0.15
LEAST_SIDE, MOST_SIDE = 0.1, 0.6
"""Of the rectangle, in parts of the image's."""
AT_ONCE = 64
"""Images at a time; fewer of large ones."""


def strained(pixels: Tensor, generator: torch.Generator) -> Tensor:
    """Harder copies of pixels [n, C, H, W] in [0, 1]: contrast by up to 30 %, brightness by 5 %, noise of 4 %, shifts by a sixteenth."""
    n, where = len(pixels), pixels.device
    contrast, brightness = (2 * torch.rand(2, n, 1, 1, 1, generator=generator) - 1).to(where)
    noise = torch.randn(pixels.shape, generator=generator).to(where)
    hard = (pixels * (1 + CONTRAST * contrast) + BRIGHTNESS * brightness + NOISE * noise).clamp(0, 1)
    (height, width), reach = pixels.shape[2:], max(1, round(SHIFT * min(pixels.shape[2:])))
    places = torch.randint(0, 2 * reach + 1, (n, 2), generator=generator).tolist()
    wide = F.pad(hard, (reach,) * 4, mode="replicate")
    return torch.stack([image[:, top : top + height, left : left + width] for image, (top, left) in zip(wide, places, strict=True)])


def turned(pixels: Tensor, generator: torch.Generator) -> Tensor:
    """Pixels [n, C, H, W] turned by up to 15 degrees, scaled by a tenth, sheared by 0.15; edges repeat."""
    angle, scale, shear = (2 * torch.rand(3, len(pixels), generator=generator) - 1).to(pixels.device)
    angle, scale = ANGLE * angle, 1 + SCALE * scale
    still = torch.zeros_like(angle)
    across = torch.stack([scale * angle.cos(), SHEAR * shear - angle.sin(), still], 1)
    down = torch.stack([angle.sin(), scale * angle.cos(), still], 1)
    grid = F.affine_grid(torch.stack([across, down], 1), list(pixels.shape), align_corners=False)
    return F.grid_sample(pixels, grid, padding_mode="border", align_corners=False)


@dataclass(frozen=True)
class Mixtures:
    """Pixels [n, C, H, W] of mixtures of each image with another one: which [n], and that one's share [n]."""

    pixels: Tensor
    others: Tensor
    share: Tensor


def mixed(pixels: Tensor, generator: torch.Generator) -> Mixtures:
    """Each image with another of the batch: all blended, or all with a rectangle of the other."""
    others = torch.randperm(len(pixels), generator=generator).to(pixels.device)
    blended = bool(torch.rand((), generator=generator) < 0.5)
    share = blends(pixels, generator) if blended else rectangles(pixels, generator)
    return Mixtures(pixels + share * (pixels[others] - pixels), others, share.mean((1, 2, 3)))


def blends(pixels: Tensor, generator: torch.Generator) -> Tensor:
    """Shares [n, 1, 1, 1] of the other image, up to a half."""
    return (torch.rand(len(pixels), 1, 1, 1, generator=generator) / 2).to(pixels.device)


def rectangles(pixels: Tensor, generator: torch.Generator) -> Tensor:
    """Masks [n, 1, H, W] of a rectangle each."""
    n, _, height, width = pixels.shape
    mask = torch.zeros(n, 1, height, width)
    sides = LEAST_SIDE + (MOST_SIDE - LEAST_SIDE) * torch.rand(n, 2, generator=generator)
    for k, (share, place) in enumerate(zip(sides.tolist(), torch.rand(n, 2, generator=generator).tolist(), strict=True)):
        tall, wide = round(share[0] * height), round(share[1] * width)
        top, left = round(place[0] * (height - tall)), round(place[1] * (width - wide))
        mask[k, :, top : top + tall, left : left + wide] = 1.0
    return mask.to(pixels.device)


def copies(data: Split, seed: int, times: int = 1) -> Split:
    """Strained copies of all images with their labels, in uint8."""
    generator, parts = torch.Generator().manual_seed(seed), list[Tensor]()
    some = max(1, min(AT_ONCE, AT_ONCE * AREA // (data.shape[1] * data.shape[2])))
    for _ in range(times):
        parts += [(255 * strained(pixels, generator)).round().to(torch.uint8) for pixels, _ in data.parts(some)]
    return Split(torch.cat(parts), data.labels.repeat(times))
