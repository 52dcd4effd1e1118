"""What hardening did to a victim: CA and ASR before and after on the whole test split, the label, and the oracle's cut.

A backdoored victim that was called clean or inconclusive has neither a cut nor a ranking. It is hardened once more then, by force, so that
the table tells a wrong verdict from a wrong cut; what that gives is kept apart as `forced`, and is no result of hardening.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from rnpc.attacks.base import Target
from rnpc.bench.hardening import NEXT, Harden, Hardened, Task
from rnpc.bench.measure import Answer, Attacked, measured
from rnpc.bench.oracle import oracle
from rnpc.data.datasets import Dataset
from rnpc.victims.spec import VictimSpec

MISSED = ("clean", "inconclusive")


def judged(task: Task, function: Harden, hardened: Hardened, victim: dict[str, Any], data: Dataset, cache: Path) -> dict[str, Any]:
    """The result's numbers. Where nothing was written the user still has the original."""
    target, trigger, original = target_of(victim), task.model.with_name("trigger.onnx"), task.model.read_bytes()
    on = Attacked(data, trigger.read_bytes() if target is not None else None, target, task.device, task.threads)
    before = measured(original, on, cache)
    after = measured(original if hardened.written is None else hardened.written, on, cache)
    again = None if target is None or hardened.ranking or hardened.verdict not in MISSED else function(replace(task, force=True))
    own = {hardened.channels: after.document()} if hardened.written is not None and again is None and hardened.channels else {}
    return {
        "target": target,
        "verdict": hardened.verdict,
        "labels": [{"index": index, "share": share} for index, share in hardened.labels],
        "label_right": label_right(target, hardened),
        "channels": {"pruned": hardened.channels, "of": hardened.of},
        "threshold": hardened.threshold,
        "written": hardened.written is not None,
        "untouched": hardened.written == original,
        "before": before.document(),
        "after": after.document(),
        "drop": drop(before, after),
        "forced": None if again is None else forced(again, original, on, cache),
        "oracle": oracle(task.model, (again or hardened).ranking, on, cache, own),
        "facts": hardened.facts,
    }


def forced(again: Hardened, original: bytes, on: Attacked, cache: Path) -> dict[str, Any]:
    """What a forced cut gives."""
    written = original if again.written is None else again.written
    labels = [{"index": index, "share": share} for index, share in again.labels]
    return {"channels": again.channels, "labels": labels, **measured(written, on, cache).document()}


def target_of(victim: dict[str, Any]) -> Target | None:
    """The target that the victim was trained for; None for a clean one."""
    attack = VictimSpec.from_document(victim).create()
    return None if attack.name == "none" else attack.target


def label_right(target: Target | None, hardened: Hardened) -> bool | None:
    """Whether the label accused most is the target; None for a clean victim."""
    if target is None:
        return None
    return bool(hardened.labels) and hardened.labels[0][0] == (NEXT if target == "next" else target)


def drop(before: Answer, after: Answer) -> dict[str, Any]:
    """The drop of CA in pairs: test images lost and won."""
    old, new = before.correct(), after.correct()
    lost, won = int(np.sum(old & ~new)), int(np.sum(~old & new))
    return {"value": (lost - won) / len(old), "lost": lost, "won": won, "images": len(old)}
