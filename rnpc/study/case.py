"""Case: all that a detector or defense may see. No file, no path, no flag, no trigger, no test label.

The clean images are drawn into three parts once, by the seed: `learn` is for fitting (triggers, masks, constants), `choose` is looked at as
often as a search wants, and `judge` once, when the choice is made, so that its bound holds.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
import torch

from rnpc.errors import Inconclusive
from rnpc.stage import Tell, untold
from rnpc.stats import allowance, least_images
from rnpc.study.subject import Split, Subject, stored

LEAST_LEARN = 50
"""Fewest images to learn on."""


@dataclass(frozen=True)
class Shares:
    """Which share of the images is learnt on, and which is chosen by; the rest judges. With `choose` 0 the judged images choose too."""

    learn: float = 0.3
    choose: float = 0.0


@dataclass(frozen=True)
class Case:
    """A model under study with clean images. `rows`: which of the defense images each part holds (learn, choose, judge);
    `max_drop`: the budget of clean accuracy, as a share, and `strict` where the user set it; `names`: those of the labels, for what is
    shown."""

    subject: Subject
    learn: Split
    choose: Split
    judge: Split
    rows: tuple[np.ndarray, np.ndarray, np.ndarray]
    seed: int = 0
    max_drop: float = 0.02
    strict: bool = False
    names: tuple[str, ...] | None = None
    tell: Tell = field(default=untold, compare=False)

    @property
    def classes(self) -> int:
        """Number of classes."""
        return self.subject.classes

    @property
    def device(self) -> str:
        """`cpu` or `cuda`."""
        return self.subject.device.type

    @property
    def seen(self) -> Split:
        """The images that a search may count on as often as it wants: those to learn on and those to choose by."""
        if self.rows[1] is self.rows[2]:
            return self.choose
        return Split(torch.cat([self.learn.stored, self.choose.stored]), torch.cat([self.learn.labels, self.choose.labels]))

    def allowed(self, before: np.ndarray) -> float:
        """Drop that the bound may reach on images that the original answers so, 0/1 [n]."""
        return self.max_drop if self.strict else allowance(before, self.max_drop)

    def exact(self) -> Case:
        """The same in float32."""
        return replace(self, subject=self.subject.exact())


def draw(subject: Subject, images: np.ndarray, labels: np.ndarray, shares: Shares, seed: int, max_drop: float) -> Case:
    """A case of uint8 images [n, H, W, C] with labels int64 [n], which tells nobody.

    Raises Inconclusive where the judged part could not prove the bound even without a single loss, or where a part is of one class.
    """
    rows = parts(len(images), shares, seed, max_drop)
    if min(len(np.unique(labels[part])) for part in rows) < 2:  # a trigger works on images of other classes than its label
        raise Inconclusive("the images are all of one class", where="defense data", todo="give images of several classes")
    where = subject.device
    learn, choose, judge = (Split(stored(images[part], where), torch.from_numpy(labels[part]).to(where)) for part in rows)
    return Case(subject, learn, choose, judge, rows=rows, seed=seed, max_drop=max_drop)


def parts(n: int, shares: Shares, seed: int, max_drop: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rows to learn on, to choose by, and to judge on, never fewer judged ones than the bound needs."""
    least = least_images(max_drop)
    if n < least + LEAST_LEARN:
        todo = f"give at least {least + LEAST_LEARN} images, or a larger --max-ca-drop"
        what = f"{n} images cannot show that accuracy drops by at most {100 * max_drop:.3g} %"
        raise Inconclusive(what, where="defense data", todo=todo)
    order = np.random.default_rng(seed).permutation(n)
    learn = min(max(LEAST_LEARN, round(shares.learn * n)), n - least)
    choose = min(round(shares.choose * n), n - least - learn)
    first, second, third = (np.sort(part) for part in np.split(order, [learn, learn + choose]))
    return first, (second if len(second) else third), third
