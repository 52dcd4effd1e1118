"""The built-in SPECs hold what they promise: every attack with two seeds, new ones for the judge, clean models of all kinds."""

from __future__ import annotations

from collections import defaultdict

import pytest

from rnpc import attacks, models
from rnpc.bench import spec

SIZES = {"gtsrb": (43, (3, 32, 32)), "cifar10": (10, (3, 32, 32)), "mnist": (10, (1, 28, 28)), "imagenette": (10, (3, 160, 160))}


@pytest.mark.parametrize("name", ["choose", "judge"])
def test_every_attack_has_two_seeds(name: str) -> None:
    seeds = defaultdict(set)
    for victim in spec.load(name).victims:
        seeds[victim.attack].add(victim.seed)
    assert set(seeds) == set(attacks.names()) and all(len(found) >= 2 for found in seeds.values())


@pytest.mark.parametrize("name", ["choose", "judge", "low"])
def test_victims_fit_their_data(name: str) -> None:
    for victim in spec.load(name).victims:
        victim.checked(*SIZES[victim.dataset])


def test_judges_clean_models_are_of_all_kinds() -> None:
    clean = [v for v in spec.load("judge").victims if v.attack == "none"]
    assert len(clean) >= 20 and {v.dataset for v in clean} == set(SIZES) and {v.arch for v in clean} == set(models.names())
    assert {v.descends for v in clean} == {"", "finetuned", "pruned", "quantised"}


def test_judge_is_new() -> None:
    choose, judge = spec.load("choose").victims, spec.load("judge").victims
    assert min(v.seed for v in judge) >= 501 and not {v.seed for v in choose} & {v.seed for v in judge}
    goals = [{(v.attack, v.dataset, v.create().target) for v in part if v.attack != "none"} for part in (choose, judge)]
    assert all(target == "next" for _, _, target in goals[0] & goals[1])


def test_low() -> None:
    low = spec.load("low").victims
    assert {v.rate for v in low} == {None, 0.05, 0.01, 0.005}
    assert {dict(v.settings).get("size") for v in low} == {None, 3, 5, 10} and {v.dataset for v in low} == {"gtsrb", "cifar10"}
