"""Defense data: from the training split, outside the victim's part while that lasts."""

from __future__ import annotations

import numpy as np
import pytest

from rnpc.bench.draw import draw, pick
from rnpc.data.datasets import Dataset
from rnpc.victims.spec import VictimSpec
from rnpc.victims.train import subset


@pytest.fixture
def data() -> Dataset:
    """200 training images whose pixels are their numbers, of 10 classes."""
    numbers = np.arange(200, dtype=np.uint8)
    images = np.broadcast_to(numbers[:, None, None, None], (200, 28, 28, 1))
    labels = np.arange(200) % 10
    return Dataset("mnist", images, labels, images[:10], labels[:10], tuple(map(str, range(10))), (0.5,), (0.5,), False, "d")


def victim(fraction: float) -> VictimSpec:
    """A clean victim of part of the data."""
    return VictimSpec("none", dataset="mnist", fraction=fraction, seed=5)


def test_outside(data: Dataset) -> None:
    drawn = draw(data, victim(0.5), 60, 1)
    assert drawn.inside == 0 and len(set(drawn.rows)) == 60 and drawn.classes == 10
    assert not set(drawn.rows) & set(subset(data.train_labels, 0.5, 5))
    images = pick(data, drawn.rows)
    assert images.digest == drawn.sha256 and tuple(images.images[:, 0, 0, 0]) == drawn.rows
    assert images.labels is not None and images.classes is not None
    assert [int(images.classes[label]) for label in images.labels] == [row % 10 for row in drawn.rows]


def test_inside_where_it_must(data: Dataset) -> None:
    assert draw(data, victim(0.9), 60, 1).inside == 40
    assert draw(data, victim(1.0), 60, 1).document()["trained_on"] == 60


def test_seed(data: Dataset) -> None:
    one, again, two = (draw(data, victim(0.5), 60, seed).sha256 for seed in (1, 1, 2))
    assert one == again != two
