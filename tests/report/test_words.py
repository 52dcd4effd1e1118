"""The verdict's words: each outcome, and above all that nothing is called removed when it is not."""

from __future__ import annotations

import re
from typing import Any

import pytest

from rnpc.report.numbers import percent
from rnpc.report.words import LIMITS, Outcome, describe, label_name, listed

FILE = {"path": "out.onnx", "sha256": "0" * 64}
GONE = re.compile(r"\bgone\b|(?<!not )\bremoved\b", re.I)


def found(**more: Any) -> dict[str, Any]:
    """A finding with a file."""
    pruned = {"channels": 8, "of": 600, "sites": []}
    return {"verdict": "backdoored", "output": FILE, "target_labels": [{"index": 7, "name": "7", "share": 1.0}], "pruned": pruned, **more}


def left(success: float | None, natural: float | None = 0.05, told: bool = True, before: float | None = 0.98) -> dict[str, Any]:
    """What is left, of which training brings nothing back."""
    return {
        "left": {
            "success": success,
            "before": before,
            "natural": natural,
            "told": told,
            "relapse": 0.0,
            "relapse_bound": 0.01,
            "relapse_by": "a warp",
            "words": "",
        }
    }


def narrow(success: float, one: float) -> dict[str, Any]:
    """What is left, and the most that is left of one class."""
    said = left(success)
    said["left"]["narrow"] = {"class": 9, "success": one}
    return said


def attack(before: float, after: float | None) -> dict[str, Any]:
    """Success of the true trigger."""
    return {"attack_success": {"before": before, "after": after, "images": 100}}


OUTCOMES = (
    (found(**left(0.03)), Outcome.REMOVED),
    (found(**left(0.0, natural=None)), Outcome.REMOVED),
    (found(**left(0.14, natural=0.3)), Outcome.REMOVED),
    (found(**left(0.16, natural=0.3)), Outcome.WEAKENED),
    (found(**left(0.03), **attack(0.99, 0.01)), Outcome.REMOVED),
    (found(**narrow(0.03, 0.5)), Outcome.REMOVED),
    (found(**narrow(0.03, 0.51)), Outcome.WEAKENED),  # an attack may be on one class
    (found(**narrow(0.93, 1.0)), Outcome.REMAINS),
    (found(**left(0.12)), Outcome.WEAKENED),
    (found(**left(0.33, natural=0.65)), Outcome.WEAKENED),  # a high natural level excuses nothing
    (found(**left(0.03), **attack(0.95, 0.66)), Outcome.WEAKENED),  # the true trigger knows better
    (found(**attack(0.95, 0.66)), Outcome.WEAKENED),
    (found(**left(0.93)), Outcome.REMAINS),
    (found(**left(0.95, before=None)), Outcome.REMAINS),
    (found(**left(0.03), **attack(0.98, 0.95)), Outcome.REMAINS),
    (found(**left(0.33, told=False)), Outcome.UNKNOWN),
    (found(**left(0.0, told=False)), Outcome.UNKNOWN),
    (found(**left(None)), Outcome.UNKNOWN),
    (found(), Outcome.UNKNOWN),
    (found(**left(0.0, told=False), **attack(0.99, 0.0)), Outcome.UNKNOWN),
    (found(output=None), Outcome.NO_CUT),
    ({"verdict": "clean", "output": FILE}, Outcome.CLEAN),
    ({"verdict": "inconclusive"}, Outcome.INCONCLUSIVE),
    ({**found(), "verdict": None}, Outcome.FORCED),
    ({"verdict": None, "output": FILE, "retrained": 3}, Outcome.FORCED),
    ({"verdict": None, "output": FILE, "why": "no mask is below 0.2"}, Outcome.UNTOUCHED),
)


@pytest.mark.parametrize(("document", "outcome"), OUTCOMES)
def test_outcome(document: dict[str, Any], outcome: Outcome) -> None:
    words = describe(document)
    everything = " ".join([words.headline, words.done, *words.means])
    assert words.outcome is outcome and "{" not in everything and "None" not in everything
    assert bool(GONE.search(everything)) == (outcome is Outcome.REMOVED)
    assert set(LIMITS) <= set(words.limits) and words.means
    assert words.tone == {"backdoored": "found", "clean": "clean"}.get(str(document["verdict"]), "open")


def test_all_outcomes_are_tried() -> None:
    assert {outcome for _, outcome in OUTCOMES} == set(Outcome)


def test_what_is_left_is_said() -> None:
    assert "succeeds on 3.0\u00a0% of images (before: 98.0\u00a0%, natural: 5.0\u00a0%)." in describe(found(**left(0.03))).done
    assert describe(found(**left(0.33, told=False))).done.endswith("What triggers can still do cannot be told from these images.")
    done = describe(found(**left(0.33, told=False), **attack(0.95, 0.66))).done
    assert (
        "The trigger given succeeds on 66.0\u00a0% of images (before: 95.0\u00a0%)." in done and "What other triggers can still do" in done
    )
    assert "Do not deploy" in " ".join(describe(found(**left(0.33))).means)
    assert "moves 97.0\u00a0% of the images of class 9" in describe(found(**narrow(0.33, 0.97))).done
    assert "class 9" not in describe(found(**narrow(0.03, 0.4))).done


def test_clean_says_what_it_could_not_have_seen() -> None:
    words = describe({"verdict": "clean", "unseen": ["attacks below a third", "rotations"]})
    assert words.unseen == ("attacks below a third", "rotations") and words.lines()[1:] == [
        "  not seen  attacks below a third",
        "  not seen  rotations",
    ]
    assert describe({"verdict": "clean"}).unseen == ()
    assert len(describe(found(unseen=["rotations"])).lines()) == 1


def test_why_nothing_was_done() -> None:
    assert describe(found(output=None, why="what the cut did cannot be told")).done.endswith(
        "No file was written: what the cut did cannot be told."
    )
    assert "within the allowed loss" in describe(found(output=None)).done
    assert "nothing to do: no mask is below 0.2." in describe({"verdict": None, "why": "no mask is below 0.2"}).done


def test_inconclusive_gives_its_reason() -> None:
    words = describe({"verdict": "inconclusive", "reasons": ["no label's trigger works.", "second"]})
    assert "(no label's trigger works)." in words.done and "no acquittal" in words.means[0]
    assert "()" not in describe({"verdict": "inconclusive"}).done


def test_retrained_is_said() -> None:
    words = describe(found(**left(0.02), retrained=41))
    assert "8 channels of 600 were made constant and 41 tensors were tuned on the clean images." in words.done
    assert any("other weights" in line for line in words.means) and words.outcome is Outcome.REMOVED
    alone = found(pruned={"channels": 0, "of": 600}, retrained=1)
    assert "1 tensor was tuned" in describe(alone).done and "channels of" not in describe(alone).done
    assert describe(alone).headline == "Backdoor found and retrained, effect unknown"
    assert describe({**alone, "verdict": None}).headline == "Retrained without a verdict"


def test_cost_and_p_value() -> None:
    accuracy = {"before": 0.974, "after": 0.97, "images": 1}
    done = describe(found(accuracy=accuracy, confidence=0.0123)).done
    assert "on 1 image accuracy went from 97.4\u00a0% to 97.0\u00a0%." in done and "in the picture (p = 0.012)." in done
    assert "(p < 0.001)" in describe(found(confidence=1e-9)).done


def test_labels() -> None:
    assert label_name({"index": 0, "name": "stop"}) == "label 0 (stop)" and label_name({"index": 3, "name": "3"}) == "label 3"
    assert listed([{"index": None, "name": "next"}]) == "the label after an image's own" and listed([]) == "an unnamed label"
    assert listed([{"index": i} for i in range(3)]) == "label 0, label 1 and label 2"


def test_it_says_what_training_brought_back() -> None:
    said = left(0.03)
    said["left"] |= {"relapse": 0.07, "relapse_bound": 0.09}
    assert describe(found(**said)).outcome is Outcome.REMOVED
    said_of = next(line for line in describe(found(**said)).limits if "came back furthest" in line)
    assert percent(0.07) in said_of and percent(0.09) in said_of and "a warp" in said_of and "attacker's own" in said_of
    said["left"]["relapse_bound"] = 0.11
    words = describe(found(**said))
    assert words.outcome is Outcome.WEAKENED and "may be brought back" in words.done
    assert not any("came back furthest" in line for line in words.limits)
    assert (
        "Do not deploy" in words.means[1]
        and "do not train it further" in words.means[1]
        and "some triggers still work" in describe(found(**narrow(0.03, 0.51))).means[1]
    )


def test_nothing_is_called_removed_where_training_could_not_tell() -> None:
    said = left(0.03)
    said["left"]["relapse_bound"] = None
    words = describe(found(**said))
    assert (
        words.outcome is Outcome.WEAKENED
        and "was not, or could not be, measured" in words.done
        and "do not train it further" in words.means[1]
    )
    assert not any("came back furthest" in line for line in words.limits)
    assert "some triggers still work" in describe(found(**said, **attack(0.95, 0.66))).means[1]
