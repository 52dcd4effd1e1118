"""What the original is believed when it teaches.

Made images (strained copies, mixtures) stand for images that the user does not have, and the original says what they are. A backdoored one
is no honest teacher of them: where the trigger is noise, a copy with a little noise in it carries the trigger, and the original says the
target (of one network whose trigger is a blend of noise, 70 % of the strained copies went there). Whoever learns that keeps the backdoor.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from rnpc.study.inversion import NEXT

POSSIBLE = 0.1
"""Least probability of a label, by the images that another was made of, at which that may have it."""


def doubted(said: Tensor, plain: Tensor, label: int) -> Tensor:
    """Which made images [n] the original puts to the suspected `label` (or `NEXT`) though the images that they were made of give no reason
    for it. Log-probabilities [n, K]: `said` of the made ones, `plain` of the others."""
    target = plain.argmax(1).add(1).remainder(plain.shape[1]) if label == NEXT else torch.full_like(plain.argmax(1), label)
    reason = plain.gather(1, target[:, None])[:, 0] >= math.log(POSSIBLE)
    return (said.argmax(1) == target) & ~reason


def believed(said: Tensor, plain: Tensor, label: int) -> Tensor:
    """What is to be learnt of made images, log-probabilities [n, K]: what the original says of them, but for the doubted ones, which are
    what they were made of."""
    return torch.where(doubted(said, plain, label)[:, None], plain, said)


def of_mixture(plain: Tensor, others: Tensor, share: Tensor) -> Tensor:
    """Log-probabilities [n, K] of mixtures of each image with another of the batch (`others` [n]), of which they have a `share` [n]."""
    share = share[:, None].clamp(1e-6, 1 - 1e-6)
    return torch.logaddexp(plain + (1 - share).log(), plain[others] + share.log())
