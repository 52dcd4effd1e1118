"""Families: a label that answers to a plain patch is accused; what nobody answers to accuses nobody."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from rnpc.detectors.families import Best, Families, as_trigger, patches, placed, reached
from rnpc.panel import Table
from rnpc.study.case import Case
from rnpc.study.forms import Change
from rnpc.study.inversion import NEXT
from rnpc.study.probes import Probe


def test_patches_lie_in_corners_and_hide_what_they_say() -> None:
    found = list(patches(torch.Size((3, 32, 40)), torch.device("cpu")))
    assert len(found) == len({each.name for each in found}) == 5 * 9 * 8
    image = torch.full((1, 3, 32, 40), 0.5)
    for each in found:
        changed = (each.change(image) != image).any(1)
        assert int(changed.sum()) == as_trigger(0, each).cost <= 4 * 49
    red = next(each for each in found if each.name == "red 4 x 4 at the top right, 1 in")
    shown = red.change(image)[0]
    assert (shown[:, 1:5, 35:39] == torch.tensor([1.0, 0.0, 0.0]).view(3, 1, 1)).all() and (shown[:, 0] == 0.5).all()
    board = next(each for each in found if each.name == "checker 2 x 2 in all corners").change(image)[0, 0]
    assert board[-2:, -2:].tolist() == [[1.0, 0.0], [0.0, 1.0]] and board[:2, :2].tolist() == [[1.0, 0.0], [0.0, 1.0]]


def test_patches_grow_with_the_image_and_grey_ones_have_no_colour() -> None:
    large = list(patches(torch.Size((1, 224, 224)), torch.device("cpu")))
    assert {each.name.split(" ")[0] for each in large} == {"checker", "inverse", "white", "black"}
    assert [as_trigger(0, each).cost for each in (large[0], large[-1])] == [14**2, 4 * 49**2]
    assert (
        len({each.name for each in patches(torch.Size((1, 8, 8)), torch.device("cpu"))}) == 2 * 9 * 4
    )  # sizes that are one are shown once
    assert placed(8, 10, 2, 1)["at the bottom right, 1 in"] == [(5, 7)]


def with_backdoor(case: Case, label: int | None) -> Case:
    """The case with a network that goes to `label` (None: the one after its own) where the last pixel is white."""

    class Predicts(type(case.subject)):  # type: ignore[misc]
        def predict(self, data, edits=None, change=None):  # type: ignore[no-untyped-def]
            pixels = data.pixels() if change is None else change(data.pixels())
            goal = (data.labels + 1) % self.classes if label is None else torch.full_like(data.labels, label)
            return torch.where(pixels[:, 0, -1, -1] == 1.0, goal, data.labels)

    return replace(case, subject=Predicts(**vars(case.subject)))


@pytest.mark.parametrize("label", [2, None])
def test_the_label_that_answers_is_accused(case: Case, label: int | None) -> None:
    found = Families().detect(with_backdoor(case, label))
    assert found.verdict == "backdoored" and found.suspects[0].label == (NEXT if label is None else label)
    assert found.triggers[0].form == "patch" and found.triggers[0].cost == 1 and found.reached == (1.0,)
    assert "sends 100% of images to" in found.reasons[0]
    table = found.panels[0]
    assert isinstance(table, Table) and table.accused == (0,) and len(table.rows) == 4


def test_a_sound_network_is_acquitted_the_same_each_time(clean_case: Case) -> None:
    found = Families().detect(clean_case)
    assert found.verdict == "clean" and found.triggers == () and Families().detect(clean_case) == found


ANY = Probe("white 2 x 2 at the top left", Change(torch.ones(1, 1, 8, 8), torch.zeros(1, 1, 8, 8)))


@pytest.mark.parametrize(
    ("best", "verdict"),
    [((0.75, 0.37), "backdoored"), ((0.74, 0.0), "clean"), ((0.9, 0.46), "clean"), ((0.1, 0.95), "backdoored"), ((0.0, 0.0), "clean")],
)
def test_the_rule(case: Case, monkeypatch: pytest.MonkeyPatch, best: tuple[float, float], verdict: str) -> None:
    monkeypatch.setattr(Families, "best", lambda *_: {k: Best(share, ANY if share else None) for k, share in enumerate(best)})
    found = Families().detect(case)
    assert found.verdict == verdict and (not found.triggers or found.triggers[0].label == int(best[1] > best[0]))


def test_what_is_counted(case: Case) -> None:
    same = Change(torch.ones(1, 1, *case.learn.shape[1:]), torch.zeros(1, 1, *case.learn.shape[1:]))
    found = reached(with_backdoor(case, 1), case.choose, same)
    assert found[NEXT] == 0 and all(share == 0 for share in found.values())
