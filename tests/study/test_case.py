"""The parts of the defense data: whole, drawn by the seed, and large enough to judge by."""

from __future__ import annotations

import numpy as np
import pytest

from rnpc.errors import Inconclusive
from rnpc.stats import allowance, least_images
from rnpc.study.case import LEAST_LEARN, Case, Shares, draw, parts


@pytest.mark.parametrize("n", [199, 250, 500, 3000])
@pytest.mark.parametrize("shares", [Shares(), Shares(0.3, 0.3), Shares(0.7)])
def test_the_parts_are_whole_and_leave_enough_to_judge(n: int, shares: Shares) -> None:
    learn, choose, judge = parts(n, shares, 0, 0.02)
    assert sorted({*learn, *choose, *judge}) == list(range(n)) and not set(learn) & {*choose, *judge}
    assert len(judge) >= least_images(0.02) == 149 and len(learn) >= LEAST_LEARN
    assert np.array_equal(choose, judge) or not set(choose) & set(judge)


def test_the_draw_follows_the_seed() -> None:
    first, same, other = (parts(300, Shares(), seed, 0.02)[0] for seed in (1, 1, 2))
    assert np.array_equal(first, same) and not np.array_equal(first, other)


def test_too_few_images_say_how_many_are_needed() -> None:
    with pytest.raises(Inconclusive, match="at least 199 images"):
        parts(198, Shares(), 0, 0.02)


def test_images_of_one_class_are_inconclusive(case: Case) -> None:
    images = np.zeros((300, 8, 8, 3), np.uint8)
    with pytest.raises(Inconclusive, match="all of one class"):
        draw(case.subject, images, np.ones(300, dtype=np.int64), Shares(), 0, 0.02)


def test_a_case_knows_which_images_it_judges_by(case: Case) -> None:
    assert [len(rows) for rows in case.rows] == [len(case.learn), len(case.choose), len(case.judge)] == [54, 126, 126]
    assert case.classes == 3 and case.device == "cpu"


@pytest.mark.parametrize(
    ("right", "n", "allowed"), [(320, 320, 0.02), (310, 320, 0.02), (256, 320, 0.0368), (160, 320, 0.04), (0, 0, 0.02)]
)
def test_what_may_be_lost_where_nobody_set_a_limit(right: int, n: int, allowed: float) -> None:
    assert allowance(np.arange(n) < right, 0.02) == pytest.approx(allowed, abs=1e-4)
