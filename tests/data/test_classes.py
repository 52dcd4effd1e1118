"""Class names to output indices, and the check of the order by accuracy."""

from __future__ import annotations

import numpy as np
import pytest

from rnpc.data import classes
from rnpc.data.images import ImageSet, build
from rnpc.errors import InputRefused


def rules(names: list[str], outputs: int, labels: list[str] | None = None) -> list[str]:
    return [order.rule for order in classes.candidates(sorted(names), outputs, labels, "data")]


def labelled(names: list[str]) -> ImageSet:
    return build(np.zeros((len(names), 2, 2, 3), np.uint8), names, tuple(map(str, range(len(names)))), (), "test")


def scores(found: np.ndarray, outputs: int) -> np.ndarray:
    return np.eye(outputs, dtype=np.float32)[found]


def test_names_are_matched_against_labels_with_synonyms() -> None:
    labels = ["tench, Tinca tinca", "Great_White-Shark", "crane", "crane"]
    order = classes.candidates(["great white shark", "tinca tinca"], 4, labels, "data")
    assert [o.index for o in order] == [{"great white shark": 1, "tinca tinca": 0}]
    with pytest.raises(InputRefused, match="crane"):
        classes.candidates(["crane"], 4, labels, "data")


def test_integers_are_the_outputs_even_if_some_are_missing() -> None:
    [order] = classes.candidates(["00000", "00007", "00042"], 43, None, "data")
    assert order.index == {"00000": 0, "00007": 7, "00042": 42}
    assert rules(["1", "5"], 5) == ["integer names counted from 1"]


def test_sorted_names_need_a_full_set() -> None:
    assert rules(["cat", "dog"], 2) == ["sorted names"]
    with pytest.raises(InputRefused, match=r"2 classes \(cat, dog\) do not fit a model with 3 outputs whose labels are not known"):
        classes.candidates(["cat", "dog"], 3, None, "data")
    with pytest.raises(InputRefused, match="dog not among its labels"):
        classes.candidates(["cat", "dog"], 3, ["cat", "cow", "hen"], "data")
    with pytest.raises(InputRefused, match="3 classes for a model with 2 outputs"):
        classes.candidates(["a", "b", "c"], 2, None, "data")


def test_a_torchvision_order_of_numbers_is_found_by_accuracy() -> None:
    names = [str(i) for i in range(12)]
    data = labelled(names * 20)
    assert data.classes is not None and data.labels is not None
    orders = classes.candidates(data.classes, 12, None, "data")
    assert [o.rule for o in orders] == ["integer names are output indices", "sorted names"]
    by_number = scores(np.array([int(data.classes[i]) for i in data.labels]), 12)
    by_text = scores(data.labels, 12)
    assert classes.choose(by_number, data, orders).rule == "integer names are output indices"
    assert classes.choose(by_text, data, orders).rule == "sorted names"


def test_at_chance_and_in_a_wrong_order_data_is_refused() -> None:
    labels = np.arange(200) % 10
    good = scores(labels, 10)
    assert classes.check(good, labels, "x", "data").value == 1.0
    with pytest.raises(InputRefused, match=r"at chance with sorted names; another order of the classes would give 100%"):
        classes.check(good, (labels + 1) % 10, "sorted names", "data")
    half = labels.copy()
    half[labels < 4] = (labels[labels < 4] + 1) % 4
    with pytest.raises(InputRefused, match=r"accuracy 60.0% on 200 images with x; another order"):
        classes.check(good, half, "x", "data")
    constant = scores(np.zeros(200, np.int64), 10)
    with pytest.raises(InputRefused, match="at chance with x; check"):
        classes.check(constant, labels, "x", "data")


def test_a_handful_of_images_is_not_refused_unless_all_are_wrong() -> None:
    labels = np.array([0, 1, 0])
    assert classes.check(scores(labels, 2), labels, "x", "data").n == 3
    with pytest.raises(InputRefused, match=r"accuracy 0.0% on 3 images is at chance"):
        classes.check(scores(1 - labels, 2), labels, "x", "data")


def test_chance_fits_are_no_better_order() -> None:
    # One or two images a class: a relabelling fitted to all of them would explain most errors.
    rng = np.random.default_rng(1)
    labels = rng.integers(0, 400, 400)
    found = np.where(rng.random(400) < 0.5, labels, rng.integers(0, 400, 400))
    assert classes.check(scores(found, 400), labels, "x", "data").value > 0.4


def test_alignment_names_every_output() -> None:
    data = labelled(["7", "3", "7"])
    [order] = classes.candidates(("3", "7"), 9, None, "data")
    aligned = classes.align(data, order, 9, None)
    assert aligned.labels is not None and aligned.labels.tolist() == [7, 3, 7] and aligned.classes == tuple("012345678")
    assert classes.extend(order, ["5"], 9, None, "other").index == {"5": 5}
    with pytest.raises(InputRefused):
        classes.extend(order, ["cat"], 9, None, "other")


def test_beating_needs_a_clear_margin() -> None:
    base = np.array([True] * 90 + [False] * 10)
    assert not classes.beats(np.array([True] * 93 + [False] * 7), base)
    assert classes.beats(np.array([True] * 100), base) and not classes.beats(base, np.array([True] * 100))
