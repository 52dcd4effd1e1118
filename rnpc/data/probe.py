"""Which normalisation was the model trained with? The common conventions are tried on labelled images, and accuracy decides.

Rule. All conventions are run on a first batch of images; those that the best one beats there (exact sign test on the images where they
differ, p < 0.01) are out. The rest are run on more images, and the most accurate one leads. A rival is out if the leader beats it by the
same test, or if its cross-entropy is higher by a paired z test (p < 0.01). Rivals that are left must give the same class as the
leader on at least 95 % of images, so that the choice hardly matters; the one with the smallest mean cross-entropy is taken. Otherwise,
and where the leader is at chance, the probe refuses and asks for --mean and --std.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from rnpc.data.classes import Order, at_chance, beats, choose
from rnpc.data.config import Stated
from rnpc.data.images import ImageSet
from rnpc.data.infer import with_pixels
from rnpc.errors import InputRefused
from rnpc.program import Preprocessing
from rnpc.stats import rate

Score = Callable[[np.ndarray, Preprocessing], np.ndarray]
FIRST, MORE = 96, 384
Z = 2.326  # one-sided 1 % of the normal distribution
AGREE = 0.95

RGB: tuple[tuple[str, Stated], ...] = (
    ("[0, 1]", Stated(scale=1 / 255)),
    ("ImageNet mean and std", Stated(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225), scale=1 / 255)),
    ("[-1, 1]", Stated(mean=(0.5,), std=(0.5,), scale=1 / 255)),
    ("CIFAR-10 mean and std", Stated(mean=(0.4914, 0.4822, 0.4465), std=(0.2471, 0.2435, 0.2616), scale=1 / 255)),
    ("GTSRB mean and std", Stated(mean=(0.3403, 0.3121, 0.3214), std=(0.2724, 0.2608, 0.2669), scale=1 / 255)),
    ("0..255", Stated(scale=1.0)),
    ("BGR 0..255 less Caffe's mean", Stated(mean=(103.939, 116.779, 123.68), scale=1.0, channel_order="BGR")),
)
GREY: tuple[tuple[str, Stated], ...] = (
    ("[0, 1]", Stated(scale=1 / 255)),
    ("[-1, 1]", Stated(mean=(0.5,), std=(0.5,), scale=1 / 255)),
    ("MNIST mean and std", Stated(mean=(0.1307,), std=(0.3081,), scale=1 / 255)),
    ("0..255", Stated(scale=1.0)),
)


@dataclass(frozen=True)
class Trial:
    """A convention and what came of it: predictions int [m], whether each is right under its best class order, their cross-entropy."""

    name: str
    pre: Preprocessing
    found: np.ndarray
    right: np.ndarray
    loss: np.ndarray


def probe(images: ImageSet, pre: Preprocessing, channels: int, orders: Sequence[Order], score: Score, where: str) -> Preprocessing:
    """`pre` with the pixel values that classify `images` best; `score(uint8 images, preprocessing)` gives logits. Raises InputRefused."""
    conventions = [(name, with_pixels(pre, said, "probe", channels, where)) for name, said in (GREY if channels == 1 else RGB)]
    trials = [attempt(images.take(spaced(len(images), FIRST)), name, p, orders, score) for name, p in conventions]
    best = leader(trials)
    left = [t for t in trials if t is best or not beats(best.right, t.right)]
    if len(images) > FIRST and len(left) > 1:
        left = [attempt(images.take(spaced(len(images), MORE)), t.name, t.pre, orders, score) for t in left]
        best = leader(left)
    judge(best, trials, len(images.classes or ()), orders, where)
    rivals = [t for t in left if t is not best and not out(t, best)]
    apart = [t for t in rivals if np.mean(t.found == best.found) < AGREE]
    if apart:
        todo = "say it with --mean and --std (or --preprocess FILE)"
        raise InputRefused(f"preprocessing cannot be told from accuracy: {listed([best, *apart])}", where=where, todo=todo)
    chosen = min([best, *rivals], key=lambda t: float(t.loss.mean()))
    return with_source(chosen, [t for t in (best, *rivals) if t is not chosen])


def attempt(images: ImageSet, name: str, pre: Preprocessing, orders: Sequence[Order], score: Score) -> Trial:
    """Run one convention."""
    logits = score(images.images, pre)
    found, labels = logits.argmax(1), choose(logits, images, orders).of(images)
    return Trial(name, pre, found, found == labels, cross_entropy(logits, labels))


def cross_entropy(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """-log softmax(logits)[label] in nats, float64 [m]."""
    shifted = logits.astype(np.float64) - logits.max(1, keepdims=True)
    loss: np.ndarray = np.log(np.exp(shifted).sum(1)) - shifted[np.arange(len(labels)), labels]
    return loss


def out(rival: Trial, best: Trial) -> bool:
    """Whether the leader beats a rival by accuracy, or by cross-entropy."""
    worse = rival.loss - best.loss
    spread = float(worse.std() / np.sqrt(len(worse)))
    return beats(best.right, rival.right) or float(worse.mean()) > Z * spread


def spaced(n: int, count: int) -> np.ndarray:
    """At most `count` rows, evenly spaced, so that folders sorted by class are sampled across classes."""
    return np.unique(np.linspace(0, n - 1, min(n, count)).round().astype(np.int64))


def leader(trials: Sequence[Trial]) -> Trial:
    """The most accurate one, the first of equals."""
    return max(trials, key=lambda t: int(t.right.sum()))


def judge(best: Trial, trials: Sequence[Trial], classes: int, orders: Sequence[Order], where: str) -> None:
    """Raises InputRefused where the best convention is at chance."""
    found = rate(int(best.right.sum()), len(best.right))
    if not at_chance(found, max(classes, 2)):
        return
    rules = " or ".join(order.rule for order in orders)
    ranked = listed(sorted(trials, key=lambda t: -int(t.right.sum())))
    what = f"no common preprocessing classifies these images ({ranked}; classes by {rules})"
    raise InputRefused(what, where=where, todo="say it with --mean and --std, and check the class folders")


def listed(trials: Sequence[Trial]) -> str:
    """Conventions with their accuracy."""
    return ", ".join(f"{t.name} {np.mean(t.right):.0%}" for t in trials)


def with_source(best: Trial, rivals: Sequence[Trial]) -> Preprocessing:
    """The winner, its source said in words."""
    text = f"probe: {best.name}, right on {int(best.right.sum())} of {len(best.right)} images"
    if rivals:
        text += f", alike in effect: {', '.join(t.name for t in rivals)}"
    sources = tuple((field, text if source == "probe" else source) for field, source in best.pre.sources)
    return replace(best.pre, sources=sources)
