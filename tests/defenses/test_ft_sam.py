"""FT-SAM: published settings by default, every setting has an effect, and the backdoor of the planted network falls."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from rnpc.defenses import ft_sam
from rnpc.defenses.base import Nothing, Weights
from rnpc.defenses.ft_sam import FtSam
from rnpc.study.case import Case
from rnpc.study.tuning import Schedule


def test_weights_come_under_the_users_names_and_no_verdict_is_given(case: Case) -> None:
    found = FtSam(epochs=3).defend(case, None)
    assert isinstance(found, Weights) and found.channels == () and set(found.tensors) <= {"w", "b", "v", "u"}
    assert all(np.isfinite(value).all() for value in found.tensors.values()) and found.label is None
    assert FtSam.detector is None and FtSam.needs == "clean data" and FtSam.shares.learn + FtSam.shares.choose < 1


def test_published_settings_are_the_defaults(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[Schedule, float]] = []

    def tune(case: Case, tunable: object, schedule: Schedule, step: Any) -> list[Any]:
        seen.append((schedule, step.args[0]))
        return []

    monkeypatch.setattr(ft_sam, "tune", tune)
    FtSam().defend(case, None)
    FtSam(rho=8.0, smoothing=0.0, rate=0.02, epochs=7).defend(case, None)
    (schedule, rho), (other, eight) = seen
    assert (rho, schedule.rate, schedule.momentum, schedule.decay, schedule.smoothing, schedule.cosine) == (2.0, 0.01, 0.9, 5e-4, 0.1, True)
    assert (eight, other.smoothing, other.rate, other.epochs) == (8.0, 0.0, 0.02, 7)


def test_what_costs_too_much_is_not_done(case: Case) -> None:
    found = FtSam(epochs=2, rate=1e30).defend(replace(case, max_drop=0.02), None)
    assert isinstance(found, Nothing) and "is allowed" in found.why
