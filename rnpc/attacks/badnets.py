"""BadNets: a small black and white checkerboard at a fixed place.

Source: Gu, Dolan-Gavitt and Garg, "BadNets" (arXiv 1708.06733, 2017), with the grid trigger and the rate of 0.1 that Reconstructive
Neuron Pruning uses (Li et al., ICML 2023, table 6). Images to poison are drawn from all classes, the target's too.

Set by us, since the sources do not say it in numbers: 3 x 3 pixels, one pixel away from the lower right corner, white where
row + column within the grid is even. On larger images the grid is scaled by `cell`: single pixels are lost in a network that halves its
input twice before it looks (on 160 pixels and 3,000 images none of 12 x 12 was learnt in 30 epochs).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor, nn

from rnpc.attacks.base import Attack, Shape
from rnpc.errors import UsageError


@dataclass(frozen=True)
class BadNets(Attack):
    """`size`: side of the grid in pixels. `row`, `column`: its upper left pixel; negative ones count from the lower and right edge, -1
    touches it, -2 leaves one pixel free. `cell`: side of a square of the grid."""

    name: ClassVar[str] = "badnets"
    size: int = field(default=3, metadata={"help": "side of the grid in pixels"})
    row: int = field(default=-2, metadata={"help": "upper row; -1 touches the lower edge"})
    column: int = field(default=-2, metadata={"help": "left column; -1 touches the right edge"})

    cell: int = field(default=1, metadata={"help": "side of a square of the grid in pixels"})

    def check(self, classes: int, shape: Shape) -> None:
        super().check(classes, shape)
        rows, columns = shape[1] - self.size, shape[2] - self.size
        inside = 0 <= corner(self.row, self.size, shape[1]) <= rows and 0 <= corner(self.column, self.size, shape[2]) <= columns
        if self.cell < 1:
            raise UsageError(f"a square of {self.cell} pixels cannot be", where=self.name, todo="choose a cell of at least 1")
        if self.size < 1 or not inside:
            what = f"a grid of {self.size} pixels at row {self.row}, column {self.column} is not inside {shape[1]} x {shape[2]} pixels"
            raise UsageError(what, where=self.name, todo="change size, row or column")

    def module(self, shape: Shape) -> nn.Module:
        mask, pattern = torch.zeros((1, *shape), dtype=torch.bool), torch.zeros((1, *shape))
        row, column = corner(self.row, self.size, shape[1]), corner(self.column, self.size, shape[2])
        steps = torch.arange(self.size) // self.cell
        mask[..., row : row + self.size, column : column + self.size] = True
        pattern[..., row : row + self.size, column : column + self.size] = ((steps[:, None] + steps) % 2 == 0).float()
        return Patch(mask, pattern)


class Patch(nn.Module):
    """Replaces pixels: where(mask, pattern, image)."""

    mask: Tensor
    pattern: Tensor

    def __init__(self, mask: Tensor, pattern: Tensor) -> None:
        super().__init__()
        self.register_buffer("mask", mask)
        self.register_buffer("pattern", pattern)

    def forward(self, image: Tensor) -> Tensor:
        return torch.where(self.mask, self.pattern, image)


def corner(place: int, size: int, side: int) -> int:
    """First pixel of a grid along one axis."""
    return place if place >= 0 else side - size + place + 1
