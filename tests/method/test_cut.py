"""The search removes a planted shortcut and never spends more accuracy than it may."""

from __future__ import annotations

import numpy as np
import pytest

from rnpc.method import cut
from rnpc.method.cut import Search, Task
from rnpc.method.rank import clean_means, edits_of
from rnpc.method.subject import Subject
from rnpc.method.trigger import FORMS, Effort, Form, Inverted, invert, success
from rnpc.stats import drop_bound


def run(subject: Subject, budget: float, label: int = 1) -> tuple[Search, list[Inverted]]:
    """A search for the label's triggers; other labels cost what they cost in the clean network."""
    reference: dict[Form, float] = {"additive": 3.0, "patch": 22.0}
    task = Task(subject, clean_means(subject, subject.learn), label, reference, budget, 0, Effort(), lambda *_: None)
    triggers = [invert(subject, label, form, seed=0, effort=Effort()) for form in FORMS]
    return cut.search(task, triggers), triggers


def bound_of(subject: Subject, found: Search) -> float:
    """The chosen cut's bound, measured again."""
    assert found.chosen is not None
    channels = found.path[: found.cuts[found.chosen].channels]
    right = subject.predict(subject.judge.pixels) == subject.judge.labels
    after = subject.predict(subject.judge.pixels, edits_of(subject, channels)) == subject.judge.labels
    return drop_bound(right.numpy(), after.numpy())[1]


def test_the_planted_channels_are_cut_and_the_trigger_is_gone(subject: Subject) -> None:
    found, triggers = run(subject, 0.05)
    assert found.chosen is not None
    channels = found.path[: found.cuts[found.chosen].channels]
    assert {36, 37} <= {channel.index for channel in channels}
    additive = next(t for t in triggers if t.form == "additive")
    assert success(subject, additive, subject.judge) > 0.9
    assert success(subject, additive, subject.judge, edits_of(subject, channels)) <= 0.3
    assert bound_of(subject, found) <= 0.05


@pytest.mark.parametrize("label", range(3))
def test_the_bound_holds_where_every_cut_hurts(clean_subject: Subject, label: int) -> None:
    found, _ = run(clean_subject, 0.03, label)
    assert found.chosen is None or bound_of(clean_subject, found) <= 0.03


def test_no_cut_where_the_budget_is_below_what_the_images_can_prove(subject: Subject) -> None:
    found, _ = run(subject, 0.001)
    assert found.chosen is None and all(judged.bound > 0.001 for judged in found.cuts)


def test_judged_cuts_are_sound(subject: Subject) -> None:
    found, _ = run(subject, 0.05)
    for judged in found.cuts:
        assert 0 < judged.channels <= len(found.path) and judged.low <= judged.accuracy <= judged.high and judged.drop <= judged.bound
    keys = [(channel.site, channel.index) for channel in found.path]
    assert len(keys) == len(set(keys)) and np.isfinite([channel.value for channel in found.path]).all()


def test_the_cut_to_make() -> None:
    assert cut.choose({}, 0.3) is None
    assert cut.choose({1: 0.4, 5: 0.55}, 0.3) is None  # the verdict's rule would convict it again
    assert cut.choose({1: 0.4, 5: 0.95}, 0.3) == 5
    assert cut.choose({2: 0.1, 4: 0.42, 9: 0.43}, 0.05) == 4  # several times dearer; as good with fewer channels
