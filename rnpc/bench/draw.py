"""The defense data of a cell: n images drawn at random from the training split, outside what the victim was trained on while they last.

A defender's images come from the same world as the training set, but were not poisoned with it. (GTSRB's training split consists of
tracks of 30 shots of one sign, so images outside the victim's part are still near to some inside.)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from rnpc.data import images
from rnpc.data.images import ImageSet

if TYPE_CHECKING:
    from rnpc.data.datasets import Dataset
    from rnpc.victims.spec import VictimSpec


@dataclass(frozen=True)
class Drawn:
    """The `rows` of the training split in rising order, how many of them the victim was trained on, their classes, and the digest of names,
    labels and pixels."""

    rows: tuple[int, ...]
    inside: int
    classes: int
    sha256: str

    def document(self) -> dict[str, Any]:
        """As a result keeps it."""
        return {"images": len(self.rows), "trained_on": self.inside, "classes": self.classes, "sha256": self.sha256}


def draw(data: Dataset, victim: VictimSpec, count: int, seed: int) -> Drawn:
    """`count` training images, by `seed`; those that the victim was trained on only where the others do not suffice."""
    from rnpc.victims.train import subset  # brings all that trains; a cell's own process calls `pick` alone

    used = subset(np.asarray(data.train_labels), victim.fraction, victim.seed)
    free = np.setdiff1d(np.arange(len(data.train_labels)), used)
    rng = np.random.default_rng([seed, 2])
    outside = rng.permutation(free)[:count]
    inside = rng.permutation(used)[: count - len(outside)]
    rows = sorted(int(row) for row in (*outside, *inside))
    chosen = pick(data, rows)
    return Drawn(tuple(rows), len(inside), len(chosen.classes or ()), chosen.digest)


def pick(data: Dataset, rows: Sequence[int]) -> ImageSet:
    """These training images, as a folder with a sub-folder for each class number would hold them."""
    index = np.asarray(rows, dtype=np.int64)
    labels = [f"{label:05d}" for label in data.train_labels[index]]
    return images.build(
        np.asarray(data.train_images[index]), labels, tuple(f"{row:06d}" for row in rows), (), f"{data.name}, training split"
    )
