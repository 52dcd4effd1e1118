"""The original is believed of made images but where what it says may be the backdoor's answer."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from rnpc.study.case import Case
from rnpc.study.inversion import NEXT
from rnpc.study.subject import Split
from rnpc.study.teacher import COPIES, among_others, believed, doubted, lies, of_mixture


def surely(*labels: int) -> torch.Tensor:
    """Log-probabilities of images that are surely of these labels, of four."""
    return torch.nn.functional.one_hot(torch.tensor(labels), 4).mul(0.96).add(0.01).log()


class Speaker:
    """Says of 100 images that they are of the labels 0 to 3 in turn, and of strained copies what it is told."""

    def __init__(self, strained: list[int]) -> None:
        self.strained = strained

    def scores(self, data: Split) -> torch.Tensor:
        """Sure ones."""
        plain = [k % 4 for k in range(100)]
        return surely(*plain) if len(data) == 100 else surely(*self.strained)


@pytest.mark.parametrize(
    ("moved", "label", "does"),
    [
        ({}, 1, False),
        ({0: (1, 40)}, 1, True),  # a tenth of all copies goes to label 1
        ({0: (1, 40)}, 2, False),
        ({0: (1, 16)}, 1, False),  # too few
        ({0: (1, 40), 1: (2, 20)}, 1, False),  # others are lost, too
        ({k: ((k + 1) % 4, 10) for k in range(4)}, NEXT, True),
        ({k: ((k + 2) % 4, 10) for k in range(4)}, NEXT, False),
    ],
)
def test_an_original_lies_whose_strained_images_go_to_one_label(
    case: Case, moved: dict[int, tuple[int, int]], label: int, does: bool
) -> None:
    """`moved`: by label, where so many of its copies go."""
    said = [k % 4 for k in range(100 * COPIES)]
    for own, (other, count) in moved.items():
        for k in [k for k, of in enumerate(said) if of == own and k % 4 == of][:count]:
            said[k] = other
    learn, choose = (Split(torch.zeros(50, 3, 8, 8, dtype=torch.uint8), torch.zeros(50, dtype=torch.int64)) for _ in range(2))
    speaker: Any = Speaker(said)
    rows = np.arange(50), np.arange(50, 100), np.arange(100, 150)
    assert lies(replace(case, subject=speaker, learn=learn, choose=choose, rows=rows), label) is does


def test_where_it_does_not_lie_nothing_is_doubted() -> None:
    said, plain = surely(1, 1), surely(0, 2)
    assert not doubted(said, plain, None).any() and torch.equal(believed(said, plain, None), said)


def test_only_images_that_go_to_the_label_without_a_reason_are_doubted() -> None:
    said, plain = surely(1, 1, 2, 0), surely(1, 0, 0, 0)
    assert doubted(said, plain, 1).tolist() == [False, True, False, False]
    assert torch.equal(believed(said, plain, 1), torch.stack([said[0], plain[1], said[2], said[3]]))


def test_the_label_may_be_left_out_where_there_is_no_reason_for_it() -> None:
    said, plain = surely(1, 2), surely(1, 0)
    found = among_others(said, plain, 1)
    assert torch.allclose(found[0], said[0]) and found[1].exp().tolist() == pytest.approx([0.01 / 0.99, 0.0, 0.97 / 0.99, 0.01 / 0.99])
    assert torch.equal(among_others(said, plain, None), said)
    both = torch.nn.functional.kl_div(found, found, log_target=True, reduction="batchmean")
    assert float(both) == 0.0  # what is left out counts nothing, and is a number


def test_the_label_after_an_image_s_own_is_doubted_where_each_goes_to_the_next() -> None:
    assert doubted(surely(1, 0, 0), surely(0, 3, 0), NEXT).tolist() == [True, True, False]


def test_a_mixture_may_be_either() -> None:
    plain = surely(0, 1)
    mixed = of_mixture(plain, torch.tensor([1, 0]), torch.tensor([0.5, 0.05]))
    assert mixed.exp().sum(1).tolist() == pytest.approx([1.0, 1.0], abs=1e-5)
    assert mixed[0].exp().tolist() == pytest.approx([0.49, 0.49, 0.01, 0.01], abs=1e-4)
    assert doubted(surely(1, 0), mixed, 1).tolist() == [False, False]  # half of the first is of label 1
    assert doubted(surely(1, 0), mixed, 0).tolist() == [False, True]  # too little of the second is of label 0


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_a_share_of_nothing_is_a_number(share: float) -> None:
    assert torch.isfinite(of_mixture(surely(0, 1), torch.tensor([1, 0]), torch.full((2,), share))).all()
