"""What a run could not have seen: an acquittal covers what was looked for, and no more.

The lines follow from what the detector did: the forms of its triggers, whether it looked for all-to-all attacks. They are in the document
whatever the verdict; the report reads them out under `clean`.
"""

from __future__ import annotations

from rnpc.detectors.base import Detection
from rnpc.study.inversion import NEXT

FORMS = {"additive": "an added pattern", "patch": "a patch", "warp": "a smooth warp"}
PART = "attacks of low success, or on images of one class only: what was looked for sends nearly all images to one label"
LOGIC = "logic in the graph itself, such as a branch on a hidden condition"


def unseen(detection: Detection | None) -> list[str]:
    """Lines; none without a detector, which acquits nobody."""
    if detection is None:
        return []
    forms = [words for form, words in FORMS.items() if any(trigger.form == form for trigger in detection.triggers)]
    if not forms:
        return [PART, "backdoors that leave no trace where this detector looks", LOGIC]
    listed = " or ".join([", ".join(forms[:-1]), forms[-1]] if len(forms) > 1 else forms)
    cyclic = any(trigger.label == NEXT for trigger in detection.triggers)
    shifted = "all-to-all attacks that send images elsewhere than to the label after their own" if cyclic else "all-to-all attacks"
    return [PART, f"triggers other than {listed}", shifted, LOGIC]
