"""How much a model stands out, and how often a sound one does."""

from __future__ import annotations

import pytest

from rnpc.detectors import calibration
from rnpc.detectors.calibration import SOUND, p_value, standing_out

PATCHES = {"families_success": 0.3, "families_success_second": 0.25}
DRAWN = {"generators_success": 0.9, "generators_success_second": 0.2}


@pytest.mark.parametrize(
    ("numbers", "most"),
    [
        ({"ratio": 0.8, **PATCHES}, 0.2),
        ({"ratio": 0.97, **PATCHES}, 0.05),
        ({"ratio": 0.8, **PATCHES, **DRAWN}, 0.7),
        ({"ratio": 1.3, **PATCHES}, 0.05),
        ({"ratio": 0.1}, None),
        (PATCHES, None),
        ({}, None),
    ],
)
def test_the_largest_of_three_numbers_counts(numbers: dict[str, float], most: float | None) -> None:
    assert standing_out(numbers) == (None if most is None else pytest.approx(most)) and (p_value(numbers) is None) is (most is None)


def test_a_model_like_a_sound_one_counts_as_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calibration, "SOUND", (0.25, 0.5))
    numbers = {"families_success": 0.0, "families_success_second": 0.0}
    assert [p_value({**numbers, "ratio": 1 - most}) for most in (0.6, 0.5, 0.3, 0.25, 0.2)] == [1 / 3, 2 / 3, 2 / 3, 1.0, 1.0]


def test_the_sound_models_are_in_order() -> None:
    assert list(SOUND) == sorted(SOUND) and all(0 <= most <= 1 for most in SOUND)
