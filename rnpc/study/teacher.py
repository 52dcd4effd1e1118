"""What the original is believed when it teaches.

Made images (strained copies, mixtures) stand for images that the user does not have, and the original says what they are. A backdoored one
is no honest teacher of them where the trigger is noise: a copy with a little noise in it carries the trigger, and the original says the
target. Whoever learns that keeps the backdoor. It shows: such copies go to one label, where those of other networks are lost to several.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from rnpc.study.case import Case
from rnpc.study.inversion import NEXT
from rnpc.study.strain import copies
from rnpc.study.subject import Split

POSSIBLE = 0.1
"""Least probability of a label, by the images that another was made of, at which that may have it."""
NOWHERE = -1e4
"""Log-probability of what is left out."""
SHARE, RIVALS, COPIES, SEED = 0.05, 1 / 3, 4, 17
"""Least share of strained copies that go to the label without a reason, largest share of it for any other label; how many copies of each
image, and their seed."""


@dataclass(frozen=True)
class Copies:
    """Strained copies `data` of the images that the search sees, what the original says of them (`said`) and of the images that they were
    made of (`plain`): log-probabilities [n, K]."""

    data: Split
    said: Tensor
    plain: Tensor


def asked(case: Case) -> Copies:
    """What it says of copies that follow from the case's seed."""
    data = copies(case.seen, case.seed + SEED, COPIES)
    said, plain = (F.log_softmax(case.subject.scores(each), 1) for each in (data, case.seen))
    return Copies(data, said, plain.repeat(COPIES, 1))


def astray(found: Copies, label: int) -> Tensor:
    """By label [K], the share of the copies that go there without a reason; for `NEXT` by how many labels they lie behind their own."""
    answers = found.said.argmax(1)
    without = found.plain.gather(1, answers[:, None])[:, 0] < math.log(POSSIBLE)
    if label == NEXT:
        answers = (answers - found.plain.argmax(1)).remainder(found.plain.shape[1])
    return torch.bincount(answers[without], minlength=found.plain.shape[1]) / len(answers)


def lies(case: Case, label: int) -> bool:
    """Whether strained copies go to the suspected label (or `NEXT`), and hardly to any other."""
    return to_one(astray(asked(case), label), place_of(label))


def place_of(label: int) -> int:
    """Where the label stands among its `astray` shares."""
    return 1 if label == NEXT else label


def to_one(shares: Tensor, place: int) -> bool:
    """Whether enough go there, and hardly any elsewhere; `shares` [K]."""
    return bool(shares[place] >= SHARE and next_to(shares, place) <= RIVALS * shares[place])


def next_to(shares: Tensor, place: int) -> Tensor:
    """The largest of the other shares."""
    return torch.cat([shares[:place], shares[place + 1 :]]).max()


def unfounded(plain: Tensor, label: int) -> tuple[Tensor, Tensor]:
    """The label [n, 1] (for `NEXT` the one after an image's own) and where [n, 1] the images that others were made of give no reason for
    it; `plain`: log-probabilities [n, K] of what they are."""
    own = plain.argmax(1, keepdim=True)
    target = (own + 1).remainder(plain.shape[1]) if label == NEXT else torch.full_like(own, label)
    return target, plain.gather(1, target) < math.log(POSSIBLE)


def doubted(said: Tensor, plain: Tensor, label: int | None) -> Tensor:
    """Which made images [n] the original puts to the label of which it `lies` (or `NEXT`; None: of none) though the images that they were
    made of give no reason for it. Log-probabilities [n, K]: `said` of the made ones, `plain` of the others."""
    if label is None:
        return torch.zeros(len(said), dtype=torch.bool, device=said.device)
    target, without = unfounded(plain, label)
    return ((said.argmax(1, keepdim=True) == target) & without)[:, 0]


def among_others(said: Tensor, plain: Tensor, label: int | None) -> Tensor:
    """Log-probabilities [n, K] of made images, without the label of which the original `lies` where there is no reason for it."""
    if label is None:
        return said
    target, without = unfounded(plain, label)
    return F.log_softmax(said.scatter(1, target, said.gather(1, target).masked_fill(without, NOWHERE)), 1)


def believed(said: Tensor, plain: Tensor, label: int | None) -> Tensor:
    """What is to be learnt of made images, log-probabilities [n, K]: what the original says of them, but for the doubted ones, which are
    what they were made of."""
    return torch.where(doubted(said, plain, label)[:, None], plain, said)


def of_mixture(plain: Tensor, others: Tensor, share: Tensor) -> Tensor:
    """Log-probabilities [n, K] of mixtures of each image with another of the batch (`others` [n]), of which they have a `share` [n]."""
    share = share[:, None].clamp(1e-6, 1 - 1e-6)
    return torch.logaddexp(plain + (1 - share).log(), plain[others] + share.log())
