"""Two witnesses: all rows of the decision, with the testimonies put in their mouths."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from rnpc.detectors import witnesses
from rnpc.detectors.base import Accused, Detection, Verdict
from rnpc.detectors.families import Families
from rnpc.detectors.generators import Generators
from rnpc.detectors.mmbd import MmBd
from rnpc.detectors.strained import Strained
from rnpc.detectors.triggers import Triggers
from rnpc.detectors.triggers.race import PACES, Round
from rnpc.detectors.witnesses import AGREE, BEYOND, BEYOND_DRAWN, CUT, LONE, NO_CUT, Witnesses
from rnpc.errors import UsageError
from rnpc.panel import Table
from rnpc.study.case import Case
from rnpc.study.forms import Change
from rnpc.study.inversion import NEXT, Effort, Inverted

PICTURE = Table("evidence", ("label",), ((1,),))
ACCUSES = Detection("backdoored", (Accused(1, 9.0),), ("cheap",), {"ratio": 0.1}, panels=(PICTURE,))
ACQUITS = Detection("clean", (Accused(1, 1.0),), ("alike",), {"ratio": 1.0})
UNSURE = Detection("inconclusive", (Accused(1, 2.0),), ("in between",), {"ratio": 0.5})
FAILED = Detection("inconclusive", (), ("too few labels",))


def margins(label: int, p: float) -> Detection:
    """What MM-BD says with that p-value."""
    verdict: Verdict = "backdoored" if p <= 0.05 else "clean"
    return Detection(verdict, (Accused(label, 3.0, p),), (f"p = {p}",), {"p_value": p}, panels=(PICTURE,))


PATCH = Inverted(1, "patch", 4.0, Change(torch.ones(1, 1, 8, 8), torch.zeros(1, 1, 8, 8)))
QUIET = Detection("clean", (Accused(0, 1.0),), ("no patch",), {"success": 0.05})
SEEN = Detection(
    "backdoored", (Accused(1, 20.0),), ("a patch",), {"success": 0.99, "success_second": 0.11}, triggers=(PATCH,), reached=(0.99,)
)
SILENT = Detection("clean", (Accused(0, 1.0),), ("nothing drawn",), {"success": 0.1})
FOUND = Detection("backdoored", (Accused(1, 50.0),), ("drawn",), {"success": 0.89, "success_second": 0.0})
STILL = Detection("clean", (Accused(0, 1.0),), (), {"share": 0.01, "share_second": 0.01})
ASTRAY = Detection("backdoored", (Accused(1, 60.0),), ("astray",), {"share": 0.6, "share_second": 0.01})


def say(
    monkeypatch: pytest.MonkeyPatch,
    first: Detection,
    second: Detection | None,
    third: Detection = SILENT,
    patches: Detection = QUIET,
    copies: Detection = STILL,
) -> None:
    """What the witnesses say; None: the second one must not be asked."""
    monkeypatch.setattr(Families, "detect", lambda detector, case: patches)
    monkeypatch.setattr(Strained, "detect", lambda detector, case: copies)
    monkeypatch.setattr(Generators, "detect", lambda detector, case: third)

    def asked(detector: MmBd, case: Case) -> Detection:
        assert second is not None, "MM-BD was asked although it has no say"
        return second

    monkeypatch.setattr(Triggers, "detect", lambda detector, case: first)
    monkeypatch.setattr(MmBd, "detect", asked)


@pytest.mark.parametrize("first", [ACCUSES, replace(UNSURE, doubt=True), replace(ACQUITS, doubt=True)])
def test_a_suspicion_asks_for_the_cut_first(case: Case, monkeypatch: pytest.MonkeyPatch, first: Detection) -> None:
    say(monkeypatch, first, None)
    found = Witnesses().detect(case)
    assert (
        found.verdict == "inconclusive"
        and found.doubt
        and found.suspects == first.suspects
        and found.reasons == (*first.reasons, "no patch")
    )


@pytest.mark.parametrize("first", [ACCUSES, replace(UNSURE, doubt=True)])
def test_a_cut_that_confirms_convicts(case: Case, monkeypatch: pytest.MonkeyPatch, first: Detection) -> None:
    say(monkeypatch, first, None)
    found = Witnesses().reconsider(case, Witnesses().detect(case), True)
    assert found.verdict == "backdoored" and found.suspects == first.suspects and found.reasons[-1] == CUT


@pytest.mark.parametrize(
    ("second", "verdict"),
    [
        (margins(1, 0.001), "backdoored"),
        (margins(1, AGREE), "backdoored"),
        (margins(1, 0.051), "inconclusive"),
        (margins(1, 1.0), "inconclusive"),
        (margins(2, 0.0001), "inconclusive"),  # sure, of another label
        (FAILED, "inconclusive"),
        (Detection("clean", (Accused(1, 0.0, None),)), "inconclusive"),  # no p-value at all
    ],
)
def test_without_the_cut_the_margins_must_name_the_same_label(
    case: Case, monkeypatch: pytest.MonkeyPatch, second: Detection, verdict: Verdict
) -> None:
    say(monkeypatch, ACCUSES, second)
    found = Witnesses().reconsider(case, Witnesses().detect(case), False)
    assert found.verdict == verdict and found.suspects == ACCUSES.suspects and not found.doubt
    drawn = () if verdict == "backdoored" else SILENT.reasons  # who is convicted by two needs no third
    assert found.reasons == ("cheap", "no patch", NO_CUT, *second.reasons, *drawn)


@pytest.mark.parametrize(
    ("third", "verdict"),
    [
        (FOUND, "backdoored"),
        (replace(FOUND, suspects=(Accused(2, 9.0),)), "inconclusive"),
        (replace(FOUND, verdict="inconclusive"), "inconclusive"),  # nearly is not enough to convict
        (FAILED, "inconclusive"),
        (SILENT, "inconclusive"),
    ],
)
def test_generators_that_name_the_same_label_convict_where_margins_do_not(
    case: Case, monkeypatch: pytest.MonkeyPatch, third: Detection, verdict: Verdict
) -> None:
    say(monkeypatch, ACCUSES, margins(2, 0.7), third)
    found = Witnesses().reconsider(case, Witnesses().detect(case), False)
    assert found.verdict == verdict and found.suspects == ACCUSES.suspects and found.reasons[-1:] == third.reasons[-1:]


@pytest.mark.parametrize(
    ("second", "third", "verdict", "suspect"),
    [
        (margins(2, 0.8), FOUND, "inconclusive", 1),
        (margins(2, 1e-9), FOUND, "inconclusive", 1),  # of two that disagree the generators are named: noise may resemble a label
        (margins(1, 1e-9), FOUND, "inconclusive", 1),  # two, but no trigger to cut by
        (margins(2, 0.8), FAILED, "inconclusive", None),  # what could not be measured names nobody
        (margins(2, 0.8), replace(FOUND, verdict="inconclusive", suspects=(Accused(2, 2.1),)), "inconclusive", 2),  # nearly named
    ],
)
def test_a_clean_word_of_the_triggers_needs_the_generators_too(
    case: Case, monkeypatch: pytest.MonkeyPatch, second: Detection, third: Detection, verdict: Verdict, suspect: int | None
) -> None:
    say(monkeypatch, ACQUITS, second, third)
    found = Witnesses().detect(case)
    assert found.verdict == verdict and not found.doubt
    assert [each.label for each in found.suspects] == ([] if suspect is None else [suspect])
    assert found.reasons == ("alike", "no patch", *second.reasons, *third.reasons)


@pytest.mark.parametrize(("success", "second", "sure"), [(0.9, 0.25, True), (0.89, 0.0, False), (1.0, 0.26, False)])
def test_a_generator_beyond_doubt_asks_for_the_cut_and_convicts_alone(
    case: Case, monkeypatch: pytest.MonkeyPatch, success: float, second: float, sure: bool
) -> None:
    third = replace(FOUND, numbers={"success": success, "success_second": second})
    say(monkeypatch, ACQUITS, margins(2, 0.8), third)
    monkeypatch.setitem(PACES, "standard", replace(PACES["standard"], rounds=(Round(2, Effort(6, 8)),)))
    found = Witnesses().detect(case)
    assert found.verdict == "inconclusive" and found.doubt is sure and found.suspects[0].label == 1 and found.rival is None
    assert [(t.label, t.form) for t in found.triggers] == ([(1, "additive"), (1, "patch")] if sure else [])
    if sure:
        assert Witnesses().reconsider(case, found, True).verdict == "backdoored"
        said = Witnesses().reconsider(case, found, False)
        assert said.verdict == "backdoored" and said.reasons[-2:] == (NO_CUT, BEYOND_DRAWN)


@pytest.mark.parametrize("first", [ACQUITS, UNSURE])
def test_a_patch_that_works_asks_for_the_cut_whatever_triggers_say(case: Case, monkeypatch: pytest.MonkeyPatch, first: Detection) -> None:
    """CL's grids in four corners cost as much as a natural feature, and were called clean."""
    say(monkeypatch, first, margins(2, 0.8), patches=SEEN)
    monkeypatch.setitem(PACES, "standard", replace(PACES["standard"], rounds=(Round(2, Effort(6, 8)),)))
    found = Witnesses().detect(case)
    assert found.verdict == "inconclusive" and found.doubt and found.suspects[0].label == 1 and found.rival == 0.11
    assert [(t.label, t.form) for t in found.triggers] == [(1, "additive"), (1, "patch"), (1, "patch")] and len(found.reached) == 3
    assert Witnesses().reconsider(case, found, True).verdict == "backdoored"
    assert Witnesses().reconsider(case, found, False).verdict == "inconclusive"  # one alone convicts nobody
    say(monkeypatch, first, margins(1, 0.01), patches=SEEN)
    assert Witnesses().reconsider(case, found, False).verdict == "backdoored"


@pytest.mark.parametrize(
    ("success", "second", "verdict"), [(0.95, 0.1, "backdoored"), (0.94, 0.0, "inconclusive"), (1.0, 0.11, "inconclusive")]
)
def test_a_patch_beyond_doubt_convicts_alone(
    case: Case, monkeypatch: pytest.MonkeyPatch, success: float, second: float, verdict: Verdict
) -> None:
    seen = replace(SEEN, numbers={"success": success, "success_second": second})
    say(monkeypatch, ACQUITS, margins(2, 0.8), patches=seen)
    monkeypatch.setitem(PACES, "standard", replace(PACES["standard"], rounds=(Round(2, Effort(6, 8)),)))
    assert Witnesses().reconsider(case, Witnesses().detect(case), False).verdict == verdict


def test_patches_and_triggers_that_name_one_label_convict(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    say(monkeypatch, ACCUSES, None, patches=SEEN)
    found = Witnesses().detect(case)
    assert found.doubt and found.triggers[-1] is PATCH and found.rival == 0.11
    said = Witnesses().reconsider(case, found, False)
    assert said.verdict == "backdoored" and not said.doubt and said.reasons == ("cheap", "a patch", NO_CUT, BEYOND)
    say(monkeypatch, ACCUSES, margins(2, 0.8), patches=replace(SEEN, suspects=(Accused(2, 9.0),)))
    other = Witnesses().detect(case)
    assert other.suspects == ACCUSES.suspects and other.triggers == () and other.rival is None
    assert Witnesses().reconsider(case, other, False).verdict == "inconclusive"


@pytest.mark.parametrize(("label", "verdict"), [(1, "backdoored"), (2, "inconclusive")])
def test_strained_copies_that_go_to_the_label_convict_with_the_triggers(
    case: Case, monkeypatch: pytest.MonkeyPatch, label: int, verdict: Verdict
) -> None:
    """A-Blend 543: no cut confirmed, and neither margins nor generators named the label alone."""
    say(monkeypatch, ACCUSES, None if label == 1 else margins(2, 0.8), copies=replace(ASTRAY, suspects=(Accused(label, 60.0),)))
    found = Witnesses().reconsider(case, Witnesses().detect(case), False)
    assert found.verdict == verdict and not found.doubt and found.reasons[:4] == ("cheap", "no patch", NO_CUT, "astray")


@pytest.mark.parametrize("first", [ACQUITS, UNSURE])
def test_strained_copies_that_go_to_one_label_ask_for_the_cut(case: Case, monkeypatch: pytest.MonkeyPatch, first: Detection) -> None:
    """Alone they convict nobody, and never themselves."""
    say(monkeypatch, first, margins(2, 0.8), copies=ASTRAY)
    monkeypatch.setitem(PACES, "standard", replace(PACES["standard"], rounds=(Round(2, Effort(6, 8)),)))
    found = Witnesses().detect(case)
    assert found.verdict == "inconclusive" and found.doubt and found.suspects == ASTRAY.suspects
    assert [(t.label, t.form) for t in found.triggers] == [(1, "additive"), (1, "patch")] and len(found.reached) == 2
    assert Witnesses().reconsider(case, found, True).verdict == "backdoored"
    assert Witnesses().reconsider(case, found, False).verdict == "inconclusive"
    say(monkeypatch, first, margins(1, 0.01), copies=ASTRAY)
    assert Witnesses().reconsider(case, found, False).verdict == "backdoored"


def test_margins_cannot_name_the_label_after_an_images_own(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    say(monkeypatch, replace(ACCUSES, suspects=(Accused(NEXT, 9.0),)), margins(0, 0.001))
    assert Witnesses().reconsider(case, Witnesses().detect(case), False).verdict == "inconclusive"


@pytest.mark.parametrize(
    ("second", "verdict", "suspect"),
    [
        (margins(2, 0.8), "clean", 1),
        (margins(2, 0.02), "clean", 1),  # its published level would accuse one clean model of twenty
        (margins(1, 0.02), "clean", 1),
        (margins(2, 0.0031), "clean", 1),
        (margins(2, 1e-9), "clean", 1),  # noise resembles some labels by nature
        (FAILED, "inconclusive", None),  # what could not be measured acquits nobody, and names nobody
    ],
)
def test_a_clean_word_of_the_triggers_needs_the_other_one(
    case: Case, monkeypatch: pytest.MonkeyPatch, second: Detection, verdict: Verdict, suspect: int | None
) -> None:
    say(monkeypatch, ACQUITS, second)
    found = Witnesses().detect(case)
    assert found.verdict == verdict and not found.doubt and found.accused == ()
    assert [each.label for each in found.suspects] == ([] if suspect is None else [suspect])
    assert found.reasons == ("alike", "no patch", *second.reasons, "nothing drawn")


def points(success: float, label: int = 2) -> Detection:
    """Patches or generators that accuse nobody, and reach that label most."""
    return replace(SILENT, suspects=(Accused(label, 1.5),), numbers={"success": success, "success_second": success})


def near(ratio: float, label: int = 2) -> Detection:
    """Triggers that acquit, and find that label the cheapest."""
    return replace(ACQUITS, suspects=(Accused(label, 1.3),), numbers={"ratio": ratio})


@pytest.mark.parametrize(
    ("first", "patches", "third", "verdict"),
    [
        (near(0.8), QUIET, SILENT, "inconclusive"),
        (near(0.81), QUIET, SILENT, "clean"),
        (ACQUITS, points(0.3), SILENT, "inconclusive"),
        (ACQUITS, points(0.29), SILENT, "clean"),
        (ACQUITS, QUIET, points(0.3), "inconclusive"),
        (ACQUITS, QUIET, points(0.29), "clean"),
        (near(0.8, 3), points(0.4, 3), points(0.4, 3), "clean"),
    ],
)
def test_margins_alone_withhold_an_acquittal_where_another_witness_points_to_their_label(
    case: Case, monkeypatch: pytest.MonkeyPatch, first: Detection, patches: Detection, third: Detection, verdict: Verdict
) -> None:
    say(monkeypatch, first, margins(2, LONE), third, patches)
    found = Witnesses().detect(case)
    assert found.verdict == verdict and (found.suspects[0].label == 2 or verdict == "clean")
    say(monkeypatch, first, margins(2, 0.0031), third, patches)
    assert Witnesses().detect(case).verdict == "clean"


@pytest.mark.parametrize(("first", "label"), [(ACCUSES, 1), (ACQUITS, 2)])
def test_a_p_value_that_underflows_is_the_smallest_one(case: Case, monkeypatch: pytest.MonkeyPatch, first: Detection, label: int) -> None:
    """The margin of a strong backdoor lies so far out that the tail is zero in float64."""
    say(monkeypatch, first, margins(label, 0.0), third=SILENT if first is ACCUSES else points(0.4))
    found = Witnesses().detect(case)
    if first is ACCUSES:
        assert Witnesses().reconsider(case, found, False).verdict == "backdoored"
    else:
        assert found.verdict == "inconclusive" and found.suspects[0].label == label


@pytest.mark.parametrize("second", [margins(1, 1e-9), margins(2, 0.9), FAILED])
def test_triggers_that_cannot_tell_stay_inconclusive(case: Case, monkeypatch: pytest.MonkeyPatch, second: Detection) -> None:
    say(monkeypatch, UNSURE, second)
    found = Witnesses().detect(case)
    assert found.verdict == "inconclusive" and not found.doubt and found.suspects == UNSURE.suspects
    assert found.reasons == ("in between", "no patch", *second.reasons, "nothing drawn")


def test_the_evidence_of_both_is_shown(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    say(monkeypatch, replace(ACQUITS, panels=(PICTURE,)), margins(2, 0.5))
    found = Witnesses().detect(case)
    assert found.numbers == {
        "ratio": 1.0,
        "families_success": 0.05,
        "strained_share": 0.01,
        "strained_share_second": 0.01,
        "mm_bd_p_value": 0.5,
        "generators_success": 0.1,
    }
    assert found.panels == (
        PICTURE,
        PICTURE,
    )


def test_the_effort_is_that_of_both() -> None:
    assert Witnesses("quick").second().steps < Witnesses("standard").second().steps == MmBd().steps
    assert LONE < AGREE
    with pytest.raises(UsageError, match="no effort named heroic"):
        Witnesses("heroic")


def test_on_three_labels_the_planted_network_is_in_doubt_and_its_sister_untold(case: Case, clean_case: Case) -> None:
    """The real witnesses: MM-BD needs five labels, so that nobody can be acquitted here."""
    assert witnesses.MmBd is MmBd
    found = Witnesses("quick").detect(case)
    assert found.doubt and found.verdict == "inconclusive" and found.suspects[0].label == 1
    other = Witnesses("quick").detect(clean_case)
    assert not other.doubt and other.verdict == "inconclusive" and "5 are needed" in other.reasons[-2]
