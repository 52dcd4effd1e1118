"""VGG-16 and VGG-19 with BatchNorm: thirteen or sixteen 3 x 3 convolutions in five stages, each closed by pooling, and one linear layer.

Source: Simonyan and Zisserman, "Very deep convolutional networks" (ICLR 2015), configurations D and E, with BatchNorm after each
convolution and a single linear layer instead of three, as is usual for 32 x 32 images. Stages have 1, 2, 4, 8, 8 times `width`
channels; width 64 is the usual network. A stage whose map is a single pixel pools no more, so that 28 x 28 images work too.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

MULTIPLES = (1, 2, 4, 8, 8)
"""Channels of each stage, in units of the width."""


class VGG16(nn.Module):
    """float [n, channels, size, size] -> scores [n, classes]. `depths`: convolutions of each stage."""

    depths: Sequence[int] = (2, 2, 3, 3, 3)

    def __init__(self, classes: int, width: int = 64, channels: int = 3, size: int = 32, depths: Sequence[int] = ()) -> None:
        super().__init__()
        self.stem = nn.Conv2d(channels, width, 3, 1, 1, bias=False)
        layers: list[nn.Module] = []
        before = width
        for index, (multiple, count) in enumerate(zip(MULTIPLES, depths or self.depths, strict=True)):
            after = multiple * width
            for place in range(count):
                first = index == 0 and place == 0
                layers += [nn.BatchNorm2d(after), nn.ReLU()] if first else convolution(before, after)
                before = after
            if size >= 2:
                layers.append(nn.MaxPool2d(2))
                size //= 2
        self.features = nn.Sequential(*layers)
        self.fc = nn.Linear(before * size * size, classes)

    def forward(self, x: Tensor) -> Tensor:
        scores: Tensor = self.fc(self.features(self.stem(x)).flatten(1))
        return scores


class VGG19(VGG16):
    """Configuration E."""

    depths = (2, 2, 4, 4, 4)


def convolution(before: int, after: int) -> list[nn.Module]:
    """One convolution with its BatchNorm and activation."""
    return [nn.Conv2d(before, after, 3, 1, 1, bias=False), nn.BatchNorm2d(after), nn.ReLU()]
