"""What tuning defenses share: judged once within the budget, and crops that keep size and side."""

from __future__ import annotations

from dataclasses import replace

import torch

from rnpc.defenses.base import Nothing, Weights
from rnpc.defenses.tuned import crops, outcome
from rnpc.stage import Stage
from rnpc.study.case import Case
from rnpc.study.surgery import Channel
from rnpc.study.tunable import Tunable
from rnpc.study.tuning import Epoch


def test_within_the_budget_the_tensors_are_handed_on(case: Case) -> None:
    told: list[Stage] = []
    gone = (Channel("features", 38, 1.0, 0.0),)
    tunable = Tunable.of(case, gone)
    with torch.no_grad():
        tunable.twin.parameter_of("u").add_(0.25)
    found = outcome(replace(case, tell=lambda stage, *_: told.append(stage)), tunable, [Epoch(1.0, 0.5)], gone, gone, (), ("first",))
    assert isinstance(found, Weights) and found.channels == gone and found.ranking == gone and told == [Stage.JUDGE]
    assert set(found.tensors) >= {"u"} and (found.tensors["u"] == 0.25).all()
    assert found.numbers["drop"] == 0 and found.numbers["drop_bound"] <= case.max_drop and found.numbers["epochs"] == 1
    assert found.reasons[0] == "first" and "from 100.0% to 100.0%" in found.reasons[1] and found.panels[-1].title == "Course of tuning"


def test_beyond_the_budget_nothing_is_done_and_the_numbers_are_said(case: Case) -> None:
    tunable = Tunable.of(case)
    with torch.no_grad():
        tunable.twin.parameter_of("v").zero_()
    found = outcome(case, tunable, [])
    assert isinstance(found, Nothing) and found.why.endswith("(95 % bound), where 5 % is allowed")
    assert found.numbers["drop"] > 0.5 and found.panels


def test_what_is_as_before_is_not_written(clean_case: Case) -> None:
    tunable = Tunable.of(clean_case)
    for norm in tunable.restored:  # out of the way: putting a BatchNorm back and folding it again rounds
        tunable.homes.pop(norm.weight)  # type: ignore[attr-defined]
    found = outcome(clean_case, replace(tunable, restored=()), [])
    assert isinstance(found, Nothing) and found.why == "no weight has changed"


def test_crops_keep_the_size_and_flips_only_where_asked() -> None:
    images = torch.zeros(40, 1, 8, 8)
    images[:, :, :, 6:] = 1.0  # bright at the right
    shown = crops(images, torch.Generator().manual_seed(0))
    assert shown.shape == images.shape and not torch.equal(shown, images)
    assert (shown[:, :, :, :5] == 0).all()
    turned = crops(images, torch.Generator().manual_seed(0), flip=True)
    assert 5 < int((turned[:, 0, 2:6, :2] == 1).any(-1).any(-1).sum()) < 35
