"""What costs say about the cheapest label."""

from __future__ import annotations

import pytest

from rnpc.detectors.triggers.rules import AGAIN, DOUBT, LIMITS, Accusation, Rule, accuse, close, doubtful
from rnpc.study.costs import Costs
from rnpc.study.inversion import NEXT


def costs(additive: list[float], patch: list[float], warp: list[float] | None = None) -> dict[tuple[int, str], float]:
    """Costs of labels 0, 1, ..."""
    forms: dict[str, list[float]] = {"additive": additive, "patch": patch, "warp": warp or []}
    return {(label, form): value for form, values in forms.items() for label, value in enumerate(values)}


def verdict_on(known: Costs, missed: float = 1.0) -> Accusation:
    """The accusation where all triggers work."""
    return accuse(known, dict.fromkeys(known, 1.0), missed)


def test_a_label_that_is_cheap_in_both_forms_is_accused() -> None:
    found = verdict_on(costs([4.0, 0.5, 3.0], [40.0, 5.0, 30.0], [2.0, 2.1]))
    assert found.label == 1 and found.rule == "pixels" and found.verdict == "backdoored"
    assert found.numbers["pixels"] == pytest.approx(1 / 6) and found.forms == ("additive", "patch")
    assert found.by_form == pytest.approx({"additive": 1 / 6, "patch": 1 / 6, "warp": 2.1 / 2})
    assert found.reference == {"additive": 3.0, "patch": 30.0, "warp": 2.0}


def test_a_label_that_a_small_warp_reaches_is_accused() -> None:
    found = verdict_on(costs([3.0, 3.4, 3.1], [30.0, 31.0, 40.0], [2.2, 0.4]))
    assert found.label == 1 and found.rule == "warp" and found.verdict == "backdoored" and found.forms == ("warp",)


def test_one_trigger_for_all_next_labels_is_accused() -> None:
    known = {**costs([3.0, 3.4], [30.0, 31.0]), (NEXT, "additive"): 2.0, (NEXT, "patch"): 90.0}
    found = verdict_on(known, missed=0.05)
    assert found.label == NEXT and found.rule == "next" and found.verdict == "backdoored" and found.forms == ("additive",)
    assert found.reference["additive"] == 3.0  # of the labels, not of itself


def test_labels_that_are_alike_are_clean() -> None:
    found = verdict_on(costs([3.0, 3.1], [30.0, 31.0], [2.0, 2.1]), missed=0.9)
    assert found.verdict == "clean" and found.forms


def test_a_trigger_that_fails_accuses_nobody() -> None:
    known = costs([3.0, 3.1], [30.0, 31.0], [0.4, 2.1])
    assert verdict_on(known).verdict == "backdoored"
    found = accuse(known, {**dict.fromkeys(known, 1.0), (0, "warp"): 0.3, (1, "warp"): 0.2})
    assert found.verdict == "clean" and found.numbers["warp"] == 1.0


def test_where_no_trigger_works_nobody_is_acquitted() -> None:
    known = costs([3.0, 3.1], [30.0, 31.0], [2.0, 2.1])
    found = accuse(known, dict.fromkeys(known, 0.0))
    assert found.numbers["pixels"] >= 1.0 and not found.measured and found.verdict == "inconclusive"
    assert accuse(known, {**dict.fromkeys(known, 0.0), (0, "patch"): 0.9}).verdict == "clean"


def test_a_rule_that_is_not_sure_goes_before_one_that_acquits() -> None:
    known = costs([1.0, 1.0], [1.0, 1.0], [0.62, 1.0])
    found = verdict_on(known, missed=0.35)  # 0.62 is nearer to its limit of 0.45 than 0.35 to 0.25
    assert found.rule == "next" and found.verdict == "inconclusive"


@pytest.mark.parametrize("rule", LIMITS)
@pytest.mark.parametrize(
    ("of", "by", "verdict"), [(0, -0.01, "backdoored"), (0, 1e-6, "inconclusive"), (1, -1e-6, "inconclusive"), (1, 0.01, "clean")]
)
def test_the_limits_of_each_rule(rule: Rule, of: int, by: float, verdict: str) -> None:
    value = LIMITS[rule][of] + by
    number = {each: value if each == rule else 1.0 for each in LIMITS}
    known = costs([number["pixels"], 1.0, 1.0], [number["pixels"], 1.0, 1.0], [number["warp"], 1.0])
    found = verdict_on({**known, (NEXT, "additive"): 1.0}, number["next"])
    assert found.verdict == verdict and (found.rule == rule or verdict == "clean")
    assert doubtful(found) is (verdict == "inconclusive" and (rule == "next" or (rule == "pixels" and of == 0)))


def test_a_cost_of_zero_is_no_defect() -> None:
    assert verdict_on(costs([0.0, 1.0], [0.0, 1.0])).verdict == "backdoored"


def test_only_the_rule_for_pixels_is_in_doubt() -> None:
    assert AGAIN[0] <= DOUBT[0] == LIMITS["pixels"][0] and DOUBT[1] < LIMITS["pixels"][1] < AGAIN[1]
    assert close(verdict_on(costs([0.5, 1.0], [0.5, 1.0])), DOUBT)
    assert not close(verdict_on(costs([0.4, 1.0], [0.4, 1.0])), DOUBT)
    assert not close(verdict_on(costs([1.0, 1.0], [1.0, 1.0], [0.5, 1.0])), DOUBT)
