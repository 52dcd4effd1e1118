"""The published method: its settings, its threshold, no verdict, no layer pruned to nothing."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from rnpc.defenses import rnp as paper
from rnpc.defenses.auto.blind import Request
from rnpc.errors import Inconclusive
from rnpc.study import unlearn as rnp
from rnpc.study.surgery import Channel


def test_a_decision(request_: Request, monkeypatch: pytest.MonkeyPatch) -> None:
    schedules: list[rnp.Schedule] = []
    unlearn = rnp.unlearn

    def spy(*args: Any) -> list[rnp.Point]:
        schedules.append(args[2])
        return unlearn(*args)

    monkeypatch.setattr(rnp, "unlearn", spy)
    found = paper.decide(request_)
    assert found.finding.verdict is None and len(found.finding.labels) == 1
    assert found.judged.tolist() == list(range(180)) and found.threshold == paper.THRESHOLD == 0.7
    assert all(channel.score < 0.7 for channel in found.cut) and len(found.cut) < 40
    assert len(found.ranking) == 40 and all(0 <= channel.score <= 1 for channel in found.ranking)
    (schedule,) = schedules
    assert (schedule.batch, schedule.unlearn_rate, schedule.recover_rate, schedule.decay, schedule.scale) == (128, 0.01, 0.2, 5e-2, 0.2)
    assert schedule.unlearn_steps == schedule.recover_steps == 20 * 2 and schedule.decay_at == (20, 40)


def test_a_seed_gives_the_same_decision(request_: Request) -> None:
    first, second = paper.decide(request_), paper.decide(request_)
    assert first.cut == second.cut and first.ranking == second.ranking


def test_a_layer_is_never_pruned_to_nothing() -> None:
    cut = [Channel("a", c, 0.1, 0.0) for c in range(3)] + [Channel("b", 0, 0.1, 0.0)]
    assert [(c.site, c.index) for c in paper.spare_whole_sites(cut, {"a": 3, "b": 2})] == [("a", 0), ("a", 1), ("b", 0)]


def test_crops_keep_the_size_and_flips_are_whole() -> None:
    images = torch.rand(6, 3, 8, 8)
    shown = paper.augment(images, torch.Generator().manual_seed(0))
    assert shown.shape == images.shape and not torch.equal(shown, images)
    assert set(np.unique(shown.numpy())) <= {0.0, *np.unique(images.numpy())}


def test_a_handful_of_images_is_too_few(request_: Request) -> None:
    few = replace(request_, images=request_.images[:30], labels=request_.labels[:30])
    with pytest.raises(Inconclusive, match="30 images"):
        paper.decide(few)
