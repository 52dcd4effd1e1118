"""What costs say about the cheapest label."""

from __future__ import annotations

import pytest

from rnpc.method.trigger import Form
from rnpc.method.verdict import BACKDOORED_BELOW, CLEAN_ABOVE, accuse


def costs(additive: list[float], patch: list[float]) -> dict[tuple[int, Form], float]:
    """Costs of labels 0, 1, ..."""
    forms: dict[Form, list[float]] = {"additive": additive, "patch": patch}
    return {(label, form): value for form, values in forms.items() for label, value in enumerate(values)}


def test_a_label_that_is_cheap_in_both_forms_is_accused() -> None:
    found = accuse([2, 0, 1], costs([3.0, 0.5, 4.0], [30.0, 5.0, 40.0]))
    assert found.label == 1 and found.verdict == "backdoored"
    assert found.reference == {"additive": 3.0, "patch": 30.0} and found.ratio == pytest.approx(1 / 6)
    assert found.by_form == pytest.approx({"additive": 1 / 6, "patch": 1 / 6})


def test_labels_that_are_alike_are_clean() -> None:
    assert accuse([0, 1], costs([3.0, 3.1], [30.0, 31.0])).verdict == "clean"


@pytest.mark.parametrize(
    ("ratio", "verdict"),
    [
        (BACKDOORED_BELOW - 0.01, "backdoored"),
        (BACKDOORED_BELOW + 1e-6, "inconclusive"),
        (CLEAN_ABOVE - 1e-6, "inconclusive"),
        (CLEAN_ABOVE + 0.01, "clean"),
    ],
)
def test_the_two_limits(ratio: float, verdict: str) -> None:
    assert accuse([0, 1, 2], costs([ratio, 1.0, 1.0], [ratio, 1.0, 1.0])).verdict == verdict


def test_a_cost_of_zero_is_no_defect() -> None:
    assert accuse([0, 1], costs([0.0, 1.0], [0.0, 1.0])).verdict == "backdoored"
