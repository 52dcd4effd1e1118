"""A backdoor that is there still comes back from five images; one that never was does not."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from rnpc.errors import InputRefused
from rnpc.frontends import onnx_file
from rnpc.pipeline import relapse
from rnpc.speed import one_thread
from rnpc.study.case import Case
from rnpc.study.inversion import NEXT, Aim, Effort, Inverted, invert
from rnpc.study.tuning import Epoch


def after(case: Case, triggers: list[Inverted]) -> float | None:
    """Relapse of the case's own network."""
    data = case.subject.original.SerializeToString()
    return relapse.relapse(onnx_file.program("model.onnx", data), data, case, triggers)


def test_what_is_there_comes_back_and_what_never_was_does_not(case: Case, clean_case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    with one_thread():
        triggers = [invert(case, Aim(1, form, 0), Effort()) for form in ("patch", "additive")]
        found, again, other = after(case, triggers), after(case, triggers), after(clean_case, triggers)
    assert found is not None and other is not None and found == again > 0.9 and other < found - 0.3
    assert after(case, []) is None
    alone = replace(case, learn=case.learn.take(case.learn.labels == 1), choose=case.choose.take(case.choose.labels == 1))
    assert after(alone, triggers) is None

    monkeypatch.setattr(relapse, "RATES", (math.inf,))
    assert after(case, triggers[:1]) is None

    def refuse(case: Case) -> None:
        raise InputRefused("the model is quantised", where="model", todo="none")

    monkeypatch.setattr(relapse.Tunable, "of", refuse)
    assert after(case, triggers) is None


def test_a_rate_that_wrecks_the_network_is_followed_by_a_lower_one(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    tunable, told = relapse.Tunable.of(case), list[float]()
    before = [p.detach().clone() for p in tunable.parameters()]

    def tune(case: Case, tunable: relapse.Tunable, schedule: relapse.Schedule) -> list[Epoch]:
        told.append(schedule.rate)
        with torch.no_grad():
            for parameter in tunable.parameters():
                parameter.mul_(-1 if schedule.rate > 0.002 else 1)
        return [Epoch(math.nan if schedule.rate > 0.005 else 0.1, 1.0)]

    monkeypatch.setattr(relapse, "tune", tune)
    made = relapse.retuned(case, tunable, case.learn, 0.9)
    assert made is not None and told == [0.01, 0.003, 0.001] and made.accuracy(case.judge) > 0.9
    assert all(torch.equal(a, b) for a, b in zip(before, tunable.parameters(), strict=True)), "the network itself stays"
    monkeypatch.setattr(relapse, "RATES", (0.01, 0.003))
    assert relapse.retuned(case, tunable, case.learn, 0.9) is None


def test_all_images_are_trained_on_once(case: Case) -> None:
    apart = replace(case, rows=tuple(np.arange(len(part)) for part in (case.learn, case.choose, case.judge)))  # type: ignore[arg-type]
    shared = replace(apart, judge=case.choose, rows=(apart.rows[0], apart.rows[1], apart.rows[1]))
    assert len(relapse.whole(apart)) == len(case.learn) + len(case.choose) + len(case.judge)
    assert len(relapse.whole(shared)) == len(case.choose)


def test_planted_images_have_the_triggers_label(case: Case) -> None:
    def bright(pixels: torch.Tensor) -> torch.Tensor:
        return torch.ones_like(pixels)

    rows, some = torch.arange(3), case.learn
    for label, wanted in ((1, [1, 1, 1]), (NEXT, ((some.labels[:3] + 1) % 4).tolist())):
        made = relapse.planted(some, Inverted(label, "patch", 1.0, bright), rows, 4)
        assert len(made) == len(some) + 3 and made.labels[-3:].tolist() == wanted and (made.stored[-3:] == 255).all()
        assert torch.equal(made.stored[:-3], some.stored)


def test_triggers_that_work_are_tried_from_all_over_the_list(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    triggers = [Inverted(1, str(k), 0.0, lambda pixels: pixels) for k in range(14)]
    monkeypatch.setattr(relapse, "success", lambda subject, trigger, data: 0.5 if trigger.form in ("0", "1") else 0.95)
    assert [trigger.form for trigger in relapse.tried(case, triggers)] == ["2", "4", "6", "8", "10", "12"]
    assert [trigger.form for trigger in relapse.tried(case, triggers[:4])] == ["2", "3"]
    shares = iter([0.5, None, 0.1])
    monkeypatch.setattr(relapse, "after", lambda *_: next(shares))
    assert after(case, triggers[:5]) == pytest.approx(0.3), "one that falls apart does not count"
