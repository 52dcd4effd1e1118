"""The race: every label is tried, the cheapest go on where they stopped, and it ends where nothing is open any more."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch

from rnpc.detectors.triggers import Triggers, race
from rnpc.detectors.triggers.race import PACES, Pace, Race, Round
from rnpc.errors import UsageError
from rnpc.study.case import Case
from rnpc.study.forms import PIXELS, Change
from rnpc.study.inversion import Aim, Effort, Inverted

Price = Callable[[Aim], float]
Asked = list[tuple[int, str, int, int | None]]
SHORT = Pace((Round(6, Effort(9, 8)), Round(3, Effort(12, 16)), Round(2, Effort(15, 24)), Round(1, Effort(18, 32))), Effort(2, 4), (), 1)


def found(aim: Aim, cost: float, held: bool = True) -> Inverted:
    """A trigger of that cost that changes nothing."""
    return Inverted(aim.label, aim.form, cost, Change(torch.ones(1, 1, 8, 8), torch.zeros(1, 3, 8, 8)), held)


def priced(monkeypatch: pytest.MonkeyPatch, price: Price, holds: Callable[[Aim], bool] = lambda aim: True) -> Asked:
    """Inversions find triggers of known cost; the list takes (label, form, steps, images) of what they are asked for."""
    asked: Asked = []

    class Known:
        def __init__(self, case: Case, aim: Aim, batch: int) -> None:
            self.aim = aim

        def advance(self, steps: int, batch: int | None = None) -> Inverted:
            asked.append((self.aim.label, self.aim.form, steps, batch))
            return found(self.aim, price(self.aim), holds(self.aim))

    monkeypatch.setattr(race, "Inversion", Known)
    return asked


def labels_of(asked: Asked, steps: int) -> set[int]:
    """The labels of the round of so many steps."""
    return {label for label, _, some, _ in asked if some == steps}


def test_every_label_is_tried_in_every_form_and_the_cheapest_go_on(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = priced(monkeypatch, lambda aim: 1.0 + aim.label)
    ran, left = race.run(case, PIXELS, range(6), replace(SHORT, open=(0.0, 1.0)))
    first = [(label, form) for label, form, steps, _ in asked if steps == 9]
    assert sorted(first) == sorted((label, form) for label in range(6) for form in PIXELS)
    assert [labels_of(asked, steps) for steps in (12, 15, 18)] == [{0, 1, 2}, {0, 1}, {0}] and left == [0]
    assert {batch for _, _, steps, batch in asked if steps == 15} == {24} and len(ran.found) == 12


def test_more_labels_than_the_first_round_takes_come_in_the_order_given(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = priced(monkeypatch, lambda aim: 1.0)
    race.run(case, PIXELS, [7, 5, 3, 1, 0, 2, 4, 6], SHORT)
    assert labels_of(asked, 9) == {7, 5, 3, 1, 0, 2}


@pytest.mark.parametrize(
    ("costs", "rounds"),
    [
        ([1.0, 10.0, 11.0, 12.0, 13.0, 14.0], [9, 12, 15]),  # a tenth of the next: settled
        ([9.5, 10.0, 11.0, 12.0, 13.0, 14.0], [9, 12, 15]),  # alike: settled
        ([5.0, 10.0, 11.0, 12.0, 13.0, 14.0], [9, 12, 15, 18]),
    ],
)
def test_a_race_ends_early_where_it_is_settled(case: Case, monkeypatch: pytest.MonkeyPatch, costs: list[float], rounds: list[int]) -> None:
    asked = priced(monkeypatch, lambda aim: costs[aim.label])
    race.run(case, PIXELS, range(6), SHORT)
    assert sorted({steps for _, _, steps, _ in asked}) == rounds


@pytest.mark.parametrize(
    ("additive", "patch", "stay"),
    [
        ([1.0, 2.0, 3.0, 4.0], [1.0, 2.0, 3.0, 4.0], [0, 1, 2]),  # first by all: no label twice
        ([2.0, 1.0, 9.0, 9.0], [2.0, 50.0, 1.0, 9.0], [0, 1, 2]),  # by mean, in the first form, in the second
        ([9.0, 9.0, 9.0, 1.0], [9.0, 8.0, 7.0, 9.9], [3, 2, 0]),  # 0 by its second place in the first form
    ],
)
def test_the_cheapest_by_mean_and_in_each_form_stay(
    case: Case, monkeypatch: pytest.MonkeyPatch, additive: list[float], patch: list[float], stay: list[int]
) -> None:
    costs = {"additive": additive, "patch": patch}
    priced(monkeypatch, lambda aim: costs[aim.form][aim.label])
    ran = Race(case, PIXELS, range(4))
    ran.go(range(4), Effort(1, 1))
    assert ran.cheapest(range(4), 3) == stay and sorted(ran.cheapest(range(4), 99)) == [0, 1, 2, 3]


def test_a_trigger_that_does_not_hold_comes_after_those_that_do(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    priced(monkeypatch, lambda aim: 1.0 + aim.label, lambda aim: aim.label != 0)
    ran = Race(case, ("patch",), range(3))
    ran.go(range(3), Effort(1, 1))
    assert sorted(range(3), key=lambda label: ran.price(label, "patch")) == [1, 2, 0]


def test_the_ratio_is_the_smallest_mean_over_the_forms(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    costs = {"additive": [8.0, 1.0, 4.0], "patch": [10.0, 10.0, 40.0]}
    priced(monkeypatch, lambda aim: costs[aim.form][aim.label])
    ran = Race(case, PIXELS, range(3))
    ran.go(range(3), Effort(1, 1))
    assert ran.ratio(range(3)) == pytest.approx((1 / 4 * 1) ** 0.5) and ran.ratio([1]) == 1.0


def test_fresh_starts_keep_the_cheaper(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = priced(monkeypatch, lambda aim: (5.0 if aim.seed == case.seed else 3.0) if aim.label else (1.0 + aim.seed))
    ran = Race(case, PIXELS, (0, 1))
    ran.go((0, 1), Effort(1, 1))
    asked.clear()
    best = race.again(ran, [0, 1], replace(SHORT, fresh=2))
    assert {key: trigger.cost for key, trigger in best.items()} == {(label, form): (1.0, 3.0)[label] for label in (0, 1) for form in PIXELS}
    assert len(asked) == 2 * 4 * 4  # two starts, all rounds, two labels in two forms


def test_a_fresh_start_that_does_not_hold_is_not_kept_for_its_price(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    priced(monkeypatch, lambda aim: 5.0 if aim.seed == case.seed else 1.0, lambda aim: aim.seed == case.seed)
    ran = Race(case, PIXELS, (0, 1))
    ran.go((0, 1), Effort(1, 1))
    assert all(trigger.cost == 5.0 and trigger.held for trigger in race.again(ran, [0, 1], SHORT).values())


def test_warps_go_to_the_labels_that_a_small_one_comes_nearest_to(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    far = [4.0, 1.0, 3.0, 2.0]
    asked = priced(monkeypatch, lambda aim: 1.0 + aim.label)
    monkeypatch.setattr(race, "strongest", lambda case, aim, budget, effort: found(aim, budget))
    monkeypatch.setattr(race, "distance", lambda subject, trigger, data: far[trigger.label])
    made = race.warps(case, range(4), replace(SHORT, warps=(Round(3, Effort(5, 4)), Round(2, Effort(6, 4)))))
    assert labels_of(asked, 5) == {1, 3, 2} and [trigger.label for trigger in made] == [1, 2]
    assert {trigger.form for trigger in made} == {"warp"}


def test_the_planted_label_wins(case: Case) -> None:
    pace = Pace((Round(3, Effort(30, 8)), Round(2, Effort(20, 16)), Round(1, Effort(10, 16))), Effort(2, 4), (), 0, (0.0, 1.0))
    ran, left = race.run(case, PIXELS, range(3), pace)
    assert left == [1] and ran.found[1, "additive"].held and ran.ratio([0, 1, 2]) < 0.45


def test_a_race_does_not_depend_on_what_runs_beside_it(case: Case) -> None:
    alone, beside = Race(case, PIXELS, (1,)), Race(case, PIXELS, (0, 1, 2))
    for ran, labels in ((alone, (1,)), (beside, (0, 1, 2))):
        ran.go(labels, Effort(12, 8))
    assert all(torch.equal(alone.found[1, form].change.shift, beside.found[1, form].change.shift) for form in PIXELS)


@pytest.mark.parametrize("name", ["quick", "standard", "thorough"])
def test_the_paces(name: str) -> None:
    pace = PACES[name]
    counts = [each.labels for each in pace.rounds]
    assert counts == sorted(counts, reverse=True) and counts[-1] >= 2 and len(counts) >= 3  # a cost is compared with another label's
    assert pace.warps[-1].labels >= 2 and 0 < pace.open[0] < pace.open[1] < 1 and Triggers(name).effort == name


def test_each_pace_looks_harder_than_the_one_before() -> None:
    assert list(PACES) == ["quick", "standard", "thorough"]
    work = [(sum(each.effort.steps for each in pace.rounds), pace.rounds[0].labels, pace.fresh) for pace in PACES.values()]
    assert all(list(column) == sorted(set(column)) for column in zip(*work, strict=True))


def test_an_unknown_effort_is_a_usage_error() -> None:
    with pytest.raises(UsageError, match="no effort named heroic") as error:
        Triggers("heroic")
    assert "quick, standard, thorough" in str(error.value)
