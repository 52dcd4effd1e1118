"""The published method: its settings, its threshold, no verdict, no layer pruned to nothing, nothing judged that was learnt on."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from rnpc.defenses import rnp
from rnpc.defenses.base import Nothing, Silence
from rnpc.defenses.rnp import Rnp
from rnpc.errors import UsageError
from rnpc.study import unlearn
from rnpc.study.case import Case, parts
from rnpc.study.surgery import Channel


def test_a_decision(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    schedules: list[unlearn.Schedule] = []
    before = unlearn.unlearn

    def spy(*args: Any) -> list[unlearn.Point]:
        schedules.append(args[2])
        return before(*args)

    monkeypatch.setattr(unlearn, "unlearn", spy)
    found = Rnp(threshold=0.7).defend(case, None)
    assert isinstance(found, Silence) and found.label is not None and found.threshold == 0.7 and found.confirmed is None
    assert all(channel.score > 0.3 for channel in found.channels) and len(found.channels) < 40
    assert len(found.ranking) == 40 and [c.score for c in found.ranking] == sorted((c.score for c in found.ranking), reverse=True)
    (schedule,) = schedules
    assert (schedule.batch, schedule.unlearn_rate, schedule.recover_rate, schedule.decay, schedule.scale) == (128, 0.01, 0.2, 5e-4, 0.2)
    assert schedule.unlearn_steps == schedule.recover_steps == 20 and schedule.decay_at == (10, 20)
    assert schedule.stop == pytest.approx(2 / 3)
    assert [rnp.near_chance(k) for k in (2, 10, 43)] == [0.75, 0.2, 2 / 43]


def test_a_fraction_of_all_filters_falls(case: Case) -> None:
    tenth, none = Rnp(fraction=0.1, stop=0.6).defend(case, None), Rnp(fraction=0.01, stop=0.6).defend(case, None)
    assert isinstance(tenth, Silence) and tenth.channels == tenth.ranking[:4] and tenth.threshold == 1 - tenth.channels[-1].score
    assert isinstance(none, Nothing) and none.why == "0.01 of 40 filters is none"


@pytest.mark.parametrize("wrong", [{"threshold": 0.5, "fraction": 0.1}, {"fraction": 1.0}, {"fraction": -0.1}])
def test_wrong_settings_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(UsageError):
        Rnp(**wrong)


def test_a_seed_gives_the_same_decision(case: Case) -> None:
    first, second = (Rnp(threshold=0.7).defend(case, None) for _ in range(2))
    assert isinstance(first, Silence) and isinstance(second, Silence)
    assert first.channels == second.channels and first.ranking == second.ranking


def test_without_a_threshold_the_cut_is_the_largest_that_the_budget_bears(case: Case) -> None:
    order = [Channel("features", c, 1.0, 0.0) for c in (38, 39, 37, 36, *range(36))]
    cut = rnp.affordable(case, order[:39])
    assert 1 <= len(cut) < 39 and cut == order[: len(cut)]
    assert rnp.affordable(replace(case, max_drop=1e-6), order[:39]) == []


def test_it_is_judged_on_images_that_it_did_not_learn_on() -> None:
    learn, _, judge = parts(500, Rnp.shares, 0, 0.02)
    assert not set(learn) & set(judge) and len(judge) == 150


def test_a_layer_is_never_pruned_to_nothing() -> None:
    cut = [Channel("a", c, 0.1, 0.0) for c in range(3)] + [Channel("b", 0, 0.1, 0.0)]
    assert [(c.site, c.index) for c in rnp.spare_whole_sites(cut, {"a": 3, "b": 2})] == [("a", 0), ("a", 1), ("b", 0)]


def test_crops_keep_the_size_and_flips_are_whole() -> None:
    images = torch.rand(6, 3, 8, 8)
    shown = rnp.augment(images, torch.Generator().manual_seed(0))
    assert shown.shape == images.shape and not torch.equal(shown, images)
    assert set(np.unique(shown.numpy())) <= {0.0, *np.unique(images.numpy())}
