"""From class names of the data to indices of the model's outputs.

Names are matched against the model's own labels. Without a match, integer names are the output indices themselves (00000 .. 00042), and a
full set of names is taken in sorted order, as torchvision's ImageFolder does (which sorts 10 before 2: both orders are tried). Classes
that the data lacks are normal. Whatever order comes out is checked by accuracy: the first candidate stands unless another one is better
by a sign test on the images where they differ; at chance, or where a mere reordering of classes would do much better, the data is refused.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy import stats
from scipy.optimize import linear_sum_assignment

from rnpc.data.images import ImageSet
from rnpc.errors import InputRefused
from rnpc.stats import Rate, rate

SIGN_TEST = 0.01
FEW = 30  # images below which accuracy says too little to refuse on
REORDERED = 0.25  # accuracy that a reordering of classes may gain before the order counts as wrong


@dataclass(frozen=True)
class Order:
    """Class name -> output index, and the rule that gave it."""

    rule: str
    index: dict[str, int]

    def of(self, images: ImageSet) -> np.ndarray:
        """Output indices int64 [n] of the labels of `images`."""
        assert images.labels is not None and images.classes is not None
        table = np.array([self.index[name] for name in images.classes], dtype=np.int64)
        labels: np.ndarray = table[images.labels]
        return labels


def candidates(classes: Sequence[str], outputs: int, names: Sequence[str] | None, where: str) -> list[Order]:
    """Possible orders, the preferred one first. Raises InputRefused where none fits."""
    if len(classes) > outputs:
        what = f"{len(classes)} classes for a model with {outputs} outputs ({sample(classes)})"
        raise InputRefused(what, where=where, todo="give the data of this model")
    matched = by_names(classes, names)
    if matched is not None:
        return [Order("names of the model's labels", matched)]
    orders = [*by_numbers(classes, outputs), *by_sorting(classes, outputs)]
    if not orders:
        todo = "name the folders by output index, or put labels.json beside the model"
        raise InputRefused(misfit(classes, outputs, names), where=where, todo=todo)
    distinct: list[Order] = []
    for order in orders:
        if all(order.index != other.index for other in distinct):
            distinct.append(order)
    return distinct


def by_names(classes: Sequence[str], names: Sequence[str] | None) -> dict[str, int] | None:
    """Index by label, if every class matches one label only. ImageNet's labels list synonyms: each of them counts."""
    if names is None:
        return None
    spoken: dict[str, set[int]] = {}
    for i, name in enumerate(names):
        for word in {plain(name), *(plain(part) for part in name.split(","))}:
            spoken.setdefault(word, set()).add(i)
    hits = {name: spoken.get(plain(name), set()) for name in classes}
    index = {name: min(hit) for name, hit in hits.items() if len(hit) == 1}
    return index if len(index) == len(classes) and len(set(index.values())) == len(index) else None


def plain(name: str) -> str:
    """Upper and lower case, underscores and hyphens do not tell classes apart."""
    return " ".join(name.casefold().replace("_", " ").replace("-", " ").split())


def by_numbers(classes: Sequence[str], outputs: int) -> list[Order]:
    """Integer names as indices; counted from one where the largest is the number of outputs."""
    if not all(name.isascii() and name.isdigit() for name in classes):
        return []
    values = [int(name) for name in classes]
    if len(set(values)) < len(values):
        return []
    if max(values) < outputs:
        return [Order("integer names are output indices", dict(zip(classes, values, strict=True)))]
    if max(values) == outputs and min(values) >= 1:
        return [Order("integer names counted from 1", {name: v - 1 for name, v in zip(classes, values, strict=True)})]
    return []


def by_sorting(classes: Sequence[str], outputs: int) -> list[Order]:
    """Sorted names, where there are as many as outputs; integers also by value."""
    if len(classes) != outputs:
        return []
    orders = [Order("sorted names", {name: i for i, name in enumerate(sorted(classes))})]
    if all(name.isascii() and name.isdigit() for name in classes):
        orders.insert(0, Order("sorted numbers", {name: i for i, name in enumerate(sorted(classes, key=int))}))
    return orders


def misfit(classes: Sequence[str], outputs: int, names: Sequence[str] | None) -> str:
    """What does not fit, in words."""
    text = f"{len(classes)} classes ({sample(classes)}) do not fit a model with {outputs} outputs"
    if names is None:
        return f"{text} whose labels are not known"
    known = {plain(name) for name in names}
    unknown = [name for name in classes if plain(name) not in known]
    return f"{text}: {sample(unknown or classes)} not among its labels ({sample(names)})"


def sample(names: Sequence[str]) -> str:
    """The first three names."""
    return f"{', '.join(names[:3])}{', ...' if len(names) > 3 else ''}"


def choose(logits: np.ndarray, images: ImageSet, orders: Sequence[Order]) -> Order:
    """The preferred order, unless others are significantly more accurate; then the best of them."""
    answers = logits.argmax(1)
    right = [answers == order.of(images) for order in orders]
    better = [i for i in range(1, len(orders)) if beats(right[i], right[0])]
    best = max(better, key=lambda i: int(right[i].sum()), default=0)
    return orders[best]


def beats(right: np.ndarray, other: np.ndarray) -> bool:
    """Sign test on discordant pairs (McNemar 1947, exact): is `right` more often right than `other`?"""
    won, lost = int(np.sum(right & ~other)), int(np.sum(~right & other))
    return won > lost and float(stats.binom.sf(won - 1, won + lost, 0.5)) < SIGN_TEST


def check(logits: np.ndarray, labels: np.ndarray, tried: str, where: str) -> Rate:
    """Accuracy of labels in output order. Raises InputRefused at chance or where the order looks wrong."""
    accuracy = rate(int(np.sum(logits.argmax(1) == labels)), len(labels))
    chance = at_chance(accuracy, logits.shape[1])
    now, reordered = reordering(logits, labels)
    wrong = reordered - now > REORDERED
    if chance or wrong:
        what = f"accuracy {accuracy.value:.1%} on {accuracy.n} images{' is at chance' if chance else ''} with {tried}"
        hint = f"; another order of the classes would give {reordered:.0%}" if wrong else ""
        todo = "check the class folders (labels.json beside the model) and --preprocess or --mean and --std"
        raise InputRefused(what + hint, where=where, todo=todo)
    return accuracy


def at_chance(accuracy: Rate, outputs: int) -> bool:
    """Whether the interval reaches 1 / K. A handful of images proves nothing: there only the accuracy itself counts."""
    return accuracy.low <= 1 / outputs and (accuracy.n >= FEW or accuracy.value <= 1 / outputs)


def reordering(logits: np.ndarray, labels: np.ndarray) -> tuple[float, float]:
    """Accuracy as it is, and under the one-to-one relabelling that fits best: high where only the order of the classes is wrong.

    The relabelling is fitted on one half of the images and both are counted on the other, so that chance fits gain nothing.
    """
    outputs, rows = logits.shape[1], np.random.default_rng(0).permutation(len(labels))
    answers, fit, count = logits.argmax(1), rows[::2], rows[1::2]
    if not len(count):
        return 1.0, 1.0
    table = np.zeros((outputs, outputs), dtype=np.int64)
    np.add.at(table, (labels[fit], answers[fit]), 1)
    relabelled = linear_sum_assignment(table, maximize=True)[1]
    return float(np.mean(answers[count] == labels[count])), float(np.mean(answers[count] == relabelled[labels[count]]))


def align(images: ImageSet, order: Order, outputs: int, names: Sequence[str] | None) -> ImageSet:
    """Labels as output indices, classes as one name an output: the model's label, else the data's name, else the index."""
    known = {i: name for name, i in order.index.items()}
    classes = tuple(names) if names is not None else tuple(known.get(i, str(i)) for i in range(outputs))
    return replace(images, labels=order.of(images), classes=classes)


def extend(order: Order, classes: Sequence[str], outputs: int, names: Sequence[str] | None, where: str) -> Order:
    """The same rule for another folder's classes, some of which the first folder may lack. Raises InputRefused."""
    missing = [name for name in classes if name not in order.index]
    if not missing:
        return order
    same_rule = [o for o in candidates(classes, outputs, names, where) if o.rule == order.rule]
    if not same_rule:
        raise InputRefused(f"class {missing[0]} is not in the clean data", where=where, todo="name the class folders as in the clean data")
    return same_rule[0]
