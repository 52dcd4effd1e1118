"""Jobs side by side give what they give one after the other."""

from __future__ import annotations

from functools import partial

import pytest
import torch

from rnpc.speed import side_by_side


def test_results_keep_their_order_and_threads_come_back() -> None:
    before = torch.get_num_threads()
    found = side_by_side([partial(lambda k: (k, torch.get_num_threads()), k) for k in range(5)])
    assert found == [(k, 1) for k in range(5)] and torch.get_num_threads() == before


def test_an_error_is_raised_after_all_have_ended() -> None:
    ended: list[int] = []

    def job(k: int) -> None:
        if k == 0:
            raise ValueError("the first")
        ended.append(k)

    with pytest.raises(ValueError, match="the first"):
        side_by_side([partial(job, k) for k in range(4)])
    assert sorted(ended) == [1, 2, 3]
