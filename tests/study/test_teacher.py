"""The original is believed of made images but where what it says may be the backdoor's answer."""

from __future__ import annotations

import pytest
import torch

from rnpc.study.inversion import NEXT
from rnpc.study.teacher import believed, doubted, of_mixture


def surely(*labels: int) -> torch.Tensor:
    """Log-probabilities of images that are surely of these labels, of four."""
    return torch.nn.functional.one_hot(torch.tensor(labels), 4).mul(0.96).add(0.01).log()


def test_only_images_that_go_to_the_label_without_a_reason_are_doubted() -> None:
    said, plain = surely(1, 1, 2, 0), surely(1, 0, 0, 0)
    assert doubted(said, plain, 1).tolist() == [False, True, False, False]
    assert torch.equal(believed(said, plain, 1), torch.stack([said[0], plain[1], said[2], said[3]]))


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
