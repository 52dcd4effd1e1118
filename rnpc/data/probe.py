"""Which normalisation was the model trained with? The common conventions are tried on labelled images, and accuracy decides.

Rule. All conventions are run on a first batch of images; those that the best one beats there (exact sign test on the images where they
differ, p < 0.01) are out. The rest are run on more images, and the most accurate one leads. A rival is out if the leader beats it by the
same test; it is *alike* if it gives the leader's class on at least 95 % of images. One that is neither is out if its cross-entropy is
surely higher (paired z test, p < 0.01, and by 0.01 nats), else the probe refuses and asks for --mean and --std. It refuses at chance, too.

Cross-entropy is taken at each convention's own best temperature, min over t of the mean of -log softmax(z / t)[label]. Without it the
larger scale would always win: a network of ReLUs without biases has z(c x) = c z(x), so that a scale of 255 changes no answer and drives
the cross-entropy to nothing. Between pure scales nothing in the answers tells which is right.

Of conventions that are alike the first in the order of the list is taken, unless another one's cross-entropy is surely lower; pixels in
0..255 are never preferred to pixels in [0, 1]. A network may be used under any of them, and what is learnt under one (a constant, a
cut) can ruin it under another: `probe_all` hands on all of them, so that what is written is judged under each.
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
NATS = 0.01  # a difference of cross-entropy below this says nothing
AGREE = 0.95
TEMPERATURES = 2.0 ** np.arange(-16, 17)

UNIT = Stated(scale=1 / 255)
SIGNED = Stated(mean=(0.5,), std=(0.5,), scale=1 / 255)
BYTES = Stated(scale=1.0)
RGB: tuple[tuple[str, Stated], ...] = (
    ("[0, 1]", UNIT),
    ("[-1, 1]", SIGNED),
    ("ImageNet mean and std", Stated(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225), scale=1 / 255)),
    ("CIFAR-10 mean and std", Stated(mean=(0.4914, 0.4822, 0.4465), std=(0.2471, 0.2435, 0.2616), scale=1 / 255)),
    ("GTSRB mean and std", Stated(mean=(0.3403, 0.3121, 0.3214), std=(0.2724, 0.2608, 0.2669), scale=1 / 255)),
    ("0..255", BYTES),
    ("BGR 0..255 less Caffe's mean", Stated(mean=(103.939, 116.779, 123.68), scale=1.0, channel_order="BGR")),
)
GREY: tuple[tuple[str, Stated], ...] = (
    ("[0, 1]", UNIT),
    ("[-1, 1]", SIGNED),
    ("MNIST mean and std", Stated(mean=(0.1307,), std=(0.3081,), scale=1 / 255)),
    ("0..255", BYTES),
)
"""In the order of preference: the plain ones first, then those of a data set, pixels in 0..255 last."""


@dataclass(frozen=True)
class Probed:
    """The convention that was taken, and the others under which the network classifies alike, in the order of the list."""

    chosen: Preprocessing
    alike: tuple[Preprocessing, ...]


@dataclass(frozen=True)
class Trial:
    """A convention (its `place` in the list) and what came of it: predictions int [m], whether each is right under its best class order,
    their cross-entropy at the best temperature."""

    place: int
    name: str
    pre: Preprocessing
    answers: np.ndarray
    right: np.ndarray
    loss: np.ndarray


def probe(images: ImageSet, pre: Preprocessing, channels: int, orders: Sequence[Order], score: Score, where: str) -> Preprocessing:
    """`probe_all` without the others."""
    return probe_all(images, pre, channels, orders, score, where).chosen


def probe_all(images: ImageSet, pre: Preprocessing, channels: int, orders: Sequence[Order], score: Score, where: str) -> Probed:
    """`pre` with the pixel values that classify `images` best, and with those that do it alike.

    `score(uint8 images, preprocessing)` gives logits. Raises InputRefused where accuracy does not tell.
    """
    conventions = [(name, with_pixels(pre, said, "probe", channels, where)) for name, said in (GREY if channels == 1 else RGB)]
    few = images.take(spaced(len(images), FIRST))
    trials = [attempt(few, place, name, p, orders, score) for place, (name, p) in enumerate(conventions)]
    best = leader(trials)
    left = [t for t in trials if t is best or not beats(best.right, t.right)]
    if len(images) > FIRST and len(left) > 1:
        more = images.take(spaced(len(images), MORE))
        left = [attempt(more, t.place, t.name, t.pre, orders, score) for t in left]
        best = leader(left)
    judge(best, trials, len(images.classes or ()), orders, where)
    group = alike(best, left, where)
    chosen = preferred(group)
    others = [t for t in group if t is not chosen]
    return Probed(with_source(chosen, others), tuple(with_source(t, [o for o in group if o is not t]) for t in others))


def attempt(images: ImageSet, place: int, name: str, pre: Preprocessing, orders: Sequence[Order], score: Score) -> Trial:
    """Run one convention."""
    logits = score(images.images, pre)
    answers, labels = logits.argmax(1), choose(logits, images, orders).of(images)
    return Trial(place, name, pre, answers, answers == labels, cross_entropy(logits, labels))


def cross_entropy(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """-log softmax(logits / t)[label] in nats, float64 [m], at the temperature t (a power of two times the scores' spread) with the least
    mean, so that no scale of the scores is at an advantage."""
    z = logits.astype(np.float64)
    spread = float(z.std()) or 1.0
    losses = (log_loss(z / (spread * t), labels) for t in TEMPERATURES)
    return min(losses, key=lambda loss: float(loss.mean()))


def log_loss(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """-log softmax(logits)[label] in nats, float64 [m]."""
    shifted = logits - logits.max(1, keepdims=True)
    loss: np.ndarray = np.log(np.exp(shifted).sum(1)) - shifted[np.arange(len(labels)), labels]
    return loss


def alike(best: Trial, left: Sequence[Trial], where: str) -> list[Trial]:
    """The leader and the rivals that answer as it does, in the list's order. Raises InputRefused where one differs and may be right."""
    rivals = [t for t in left if t is not best and not beats(best.right, t.right)]
    same = [t for t in rivals if np.mean(t.answers == best.answers) >= AGREE]
    apart = [t for t in rivals if np.mean(t.answers == best.answers) < AGREE and not surely_worse(t, best)]
    if apart:
        todo = "say it with --mean and --std (or --preprocess FILE)"
        raise InputRefused(f"preprocessing cannot be told from accuracy: {listed([best, *apart])}", where=where, todo=todo)
    return sorted([best, *same], key=lambda t: t.place)


def preferred(group: Sequence[Trial]) -> Trial:
    """The first of those that no other one of the group surely beats; of pixels in 0..255 only where nothing else is there."""
    small = [t for t in group if t.pre.scale < 1.0] or list(group)
    sharpest = min(small, key=lambda t: float(t.loss.mean()))
    return next(t for t in small if t is sharpest or not surely_worse(t, sharpest))


def surely_worse(rival: Trial, best: Trial) -> bool:
    """Whether a rival's cross-entropy is higher by a paired z test, and by enough to mean anything."""
    worse = rival.loss - best.loss
    mean, spread = float(worse.mean()), float(worse.std() / np.sqrt(len(worse)))
    return mean > max(Z * spread, NATS)


def spaced(n: int, count: int) -> np.ndarray:
    """At most `count` rows, evenly spaced, so that folders sorted by class are sampled across classes."""
    return np.unique(np.linspace(0, n - 1, min(n, count)).round().astype(np.int64))


def leader(trials: Sequence[Trial]) -> Trial:
    """The most accurate one, the first of equals."""
    return max(trials, key=lambda t: int(t.right.sum()))


def judge(best: Trial, trials: Sequence[Trial], classes: int, orders: Sequence[Order], where: str) -> None:
    """Raises InputRefused where the best convention is at chance."""
    accuracy = rate(int(best.right.sum()), len(best.right))
    if not at_chance(accuracy, max(classes, 2)):
        return
    rules = " or ".join(order.rule for order in orders)
    ranked = listed(sorted(trials, key=lambda t: -int(t.right.sum())))
    what = f"no common preprocessing classifies these images ({ranked}; classes by {rules})"
    raise InputRefused(what, where=where, todo="say it with --mean and --std, and check the class folders")


def listed(trials: Sequence[Trial]) -> str:
    """Conventions with their accuracy."""
    return ", ".join(f"{t.name} {np.mean(t.right):.0%}" for t in trials)


def with_source(trial: Trial, others: Sequence[Trial]) -> Preprocessing:
    """A convention's preprocessing, its source said in words."""
    text = f"probe: {trial.name}, right on {int(trial.right.sum())} of {len(trial.right)} images"
    if others:
        text += f", alike in effect: {', '.join(t.name for t in others)}"
    sources = tuple((field, text if source == "probe" else source) for field, source in trial.pre.sources)
    return replace(trial.pre, sources=sources)
