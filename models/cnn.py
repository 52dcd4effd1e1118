"""A small CNN as tutorials of Keras build it: two pairs of convolutions with pooling and Dropout, then one wide dense layer.

Source: the CIFAR-10 example of Keras (`cifar10_cnn.py`): convolutions with bias, 'same' and 'valid' in turn, 32 and 64 channels, Dropout
of 0.25, Flatten, 512 units, Dropout of 0.5. No BatchNorm anywhere; most weights stand in the dense layer. The usual width is 32, the
channels of the first pair; all layers scale with it.
"""

from __future__ import annotations

from torch import Tensor, nn

from rnpc.models.parts import check_size


class SmallCNN(nn.Module):
    """float [n, channels, size, size] -> scores [n, classes]. Any `size` from 10 pixels."""

    def __init__(self, classes: int, width: int = 32, channels: int = 3, size: int = 32) -> None:
        super().__init__()
        check_size(size, 10, "smallcnn")
        side = ((size - 2) // 2 - 2) // 2
        self.stem = nn.Conv2d(channels, width, 3, padding=1)
        self.features = nn.Sequential(*rest(width, width), nn.Conv2d(width, 2 * width, 3, padding=1), *rest(2 * width, 2 * width))
        dense = 16 * width
        self.dense = nn.Sequential(nn.Flatten(), nn.Linear(2 * width * side * side, dense), nn.ReLU(), nn.Dropout(0.5))
        self.fc = nn.Linear(dense, classes)

    def forward(self, x: Tensor) -> Tensor:
        scores: Tensor = self.fc(self.dense(self.features(self.stem(x))))
        return scores


def rest(before: int, after: int) -> list[nn.Module]:
    """What follows the first convolution of a pair."""
    return [nn.ReLU(), nn.Conv2d(before, after, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Dropout(0.25)]
