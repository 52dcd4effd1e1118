"""What an acquittal does not cover follows from what the detector did."""

from __future__ import annotations

import torch

from rnpc.detectors.base import Detection
from rnpc.pipeline import unseen as room
from rnpc.pipeline.unseen import LOGIC, PART, unseen
from rnpc.study.forms import PRICED, Change
from rnpc.study.inversion import NEXT, Inverted


def detected(*triggers: tuple[int, str]) -> Detection:
    change = Change(torch.ones(1, 1, 8, 8), torch.zeros(1, 3, 8, 8))
    return Detection("clean", (), triggers=tuple(Inverted(label, form, 1.0, change) for label, form in triggers))


def test_the_forms_that_were_tried_are_named() -> None:
    found = unseen(detected((0, "patch"), (0, "additive"), (0, "warp"), (NEXT, "additive")))
    cyclic = "all-to-all attacks that send images elsewhere than to the label after their own"
    assert found == [PART, "triggers other than an added pattern, a patch or a smooth warp", cyclic, LOGIC]
    assert unseen(detected((0, "patch"), (1, "additive")))[1:3] == ["triggers other than an added pattern or a patch", "all-to-all attacks"]
    assert set(PRICED) == set(room.FORMS)


def test_without_triggers_or_without_a_verdict() -> None:
    assert len(unseen(detected())) == 3 and unseen(None) == []
