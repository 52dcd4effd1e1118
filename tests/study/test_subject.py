"""The split of the defense data, and what cannot be worked on."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from rnpc.defenses.auto import blind
from rnpc.defenses.auto.blind import Request
from rnpc.errors import Inconclusive
from rnpc.program import Preprocessing
from rnpc.stats import least_images
from rnpc.study.subject import LEAST_LEARN, Subject, split


@pytest.mark.parametrize("n", [199, 250, 500, 3000])
def test_the_split_is_whole_and_leaves_enough_to_judge(n: int) -> None:
    labels = np.arange(n) % 3
    learn, judge = split(np.zeros((n, 1)), labels, 0, 0.02)
    assert sorted([*learn, *judge]) == list(range(n))
    assert len(judge) >= least_images(0.02) == 149 and len(learn) >= LEAST_LEARN


def test_the_split_follows_the_seed() -> None:
    data = np.zeros((300, 1)), np.zeros(300, dtype=np.int64)
    first, same, other = (split(*data, seed, 0.02)[0] for seed in (1, 1, 2))
    assert np.array_equal(first, same) and not np.array_equal(first, other)


def test_too_few_images_say_how_many_are_needed() -> None:
    with pytest.raises(Inconclusive, match="at least 199 images"):
        split(np.zeros((198, 1)), np.zeros(198), 0, 0.02)


def test_images_of_one_class_are_inconclusive(request_: Request) -> None:
    with pytest.raises(Inconclusive, match="all of one class"):
        blind.decide(replace(request_, labels=np.ones(180, dtype=np.int64)))


def test_normalise_follows_the_preprocessing(subject: Subject) -> None:
    x = torch.rand(2, 3, 8, 8)
    pre = Preprocessing(8, 8, layout="NHWC", mean=(10.0, 20.0, 30.0), std=(1.0, 2.0, 4.0), scale=1.0, channel_order="BGR")
    found = replace(subject, pre=pre).normalise(x)
    want = (x.flip(1) * 255 - torch.tensor([10.0, 20.0, 30.0])[:, None, None]) / torch.tensor([1.0, 2.0, 4.0])[:, None, None]
    assert torch.allclose(found, want.permute(0, 2, 3, 1), atol=1e-4)
