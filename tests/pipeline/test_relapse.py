"""A backdoor that is there still comes back from five images; one that never was does not."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from rnpc.defenses.base import Relapse
from rnpc.errors import InputRefused
from rnpc.frontends import onnx_file
from rnpc.pipeline import relapse
from rnpc.speed import one_thread
from rnpc.study.case import Case
from rnpc.study.forms import Change
from rnpc.study.inversion import NEXT, Aim, Effort, Inverted, invert
from rnpc.study.probes import Probe
from rnpc.study.tuning import Epoch


def after(case: Case, triggers: list[Inverted]) -> Relapse | None:
    """Relapse of the case's own network."""
    data = case.subject.original.SerializeToString()
    return relapse.relapse(onnx_file.program("model.onnx", data), data, case, 1, triggers)


def unchanged() -> Change:
    """A change that changes nothing."""
    return Change(torch.ones(1, 1, 8, 8), torch.zeros(1, 3, 8, 8))


def test_what_is_there_comes_back_and_what_never_was_does_not(case: Case, clean_case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    assert relapse.tried(case, 1, [])[0].trigger.label == 1, "families answer, too"
    monkeypatch.setattr(relapse, "families", lambda *_: [])  # large squares are natural triggers of networks for images as small as these
    with one_thread():
        triggers = [invert(case, Aim(1, form, 0), Effort()) for form in ("patch", "additive")]
        found, again, other = after(case, triggers), after(case, triggers), after(clean_case, triggers)
    assert found is not None and other is not None and found == again and found.share > 0.9 and other.share < found.share - 0.3
    assert other.share < other.bound < 1
    alone = replace(case, learn=case.learn.take(case.learn.labels == 1), choose=case.choose.take(case.choose.labels == 1))
    told = after(alone, triggers)
    assert told is not None and told.by.endswith("not trained on"), "there is no image to plant it in"

    monkeypatch.setattr(relapse, "RATES", (math.inf,))
    monkeypatch.setattr(relapse, "CLEAN", relapse.Schedule(1, math.inf))
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


def test_families_that_answer_are_tried_few_of_a_kind_and_then_what_was_found(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    members = [Probe(f"{kind} {k}", unchanged()) for kind in ("white", "noise", "warp", "red", "blue", "black") for k in range(4)]
    monkeypatch.setattr(relapse, "families", lambda *_: members)
    found = [Inverted(1, str(k), 0.0, lambda pixels: pixels) for k in range(8)]
    shares = {"warp": 0.09, "black": 1.0}
    order = iter([*(shares.get(each.name.split()[0], 0.5 + 0.01 * k) for k, each in enumerate(members)), 0.2, *[0.95] * 7])
    monkeypatch.setattr(relapse, "success", lambda *_: next(order))
    chosen = [each.name for each in relapse.tried(case, 1, found)]
    assert chosen[:4] == ["black 0", "black 1", "blue 3", "blue 2"] and not any(name.startswith("warp") for name in chosen)
    assert len(chosen) == relapse.FAMILIES + relapse.FOUND and chosen[-3:] == [f"a found {k} trigger" for k in (1, 3, 5)]


def test_the_one_that_comes_back_furthest_counts(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    triggers = [Inverted(1, str(k), 0.0, lambda pixels: pixels) for k in range(3)]
    monkeypatch.setattr(relapse, "tried", lambda *_: [relapse.Named(each.form, each) for each in triggers])
    shares = iter([[Relapse(0.1, 0.2, "a")], [], [Relapse(0.5, 0.6, "b")]])
    monkeypatch.setattr(relapse, "after", lambda *_: next(shares))
    monkeypatch.setattr(relapse, "untriggered", lambda *_: [Relapse(0.3, 0.4, "c")])
    assert after(case, triggers) == Relapse(0.5, 0.6, "b"), "one that falls apart does not count"


def test_what_answers_after_training_without_a_trigger_is_told(case: Case) -> None:
    chosen = [relapse.Named("white", invert(case, Aim(1, "patch", 0), Effort(40, 8)))]
    told = relapse.untriggered(case, relapse.Tunable.of(case), 0.5, chosen)
    assert len(told) == 1 and told[0].share > 0.8 and told[0].by == "white, which was not trained on"
    assert relapse.untriggered(case, relapse.Tunable.of(case), 1.1, chosen) == []
