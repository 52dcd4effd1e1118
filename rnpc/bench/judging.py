"""What hardening did to a victim: CA and ASR before and after on the whole test split, the label, and the oracle's cut.

A backdoored victim that was called clean or inconclusive has neither a cut nor a ranking. It is hardened once more then, by force, so that
the table tells a wrong verdict from a wrong cut; what that gives is kept apart as `forced`, and is no result of hardening.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from rnpc.bench.hardening import NEXT, Harden, Hardened, Request
from rnpc.bench.measure import Answer, Attacked, measured
from rnpc.bench.oracle import oracle
from rnpc.passes.wire import external

if TYPE_CHECKING:
    from rnpc.attacks.base import Target

MISSED = ("clean", "inconclusive")


def judged(request: Request, function: Harden, hardened: Hardened, on: Attacked, cache: Path) -> dict[str, Any]:
    """The result's numbers. Where nothing was written the user still has the original."""
    target = on.target
    original = external.inline(request.model.read_bytes(), request.model.parent, request.model.name)[0]
    before = measured(original, on, cache)
    after = measured(original if hardened.written is None else hardened.written, on, cache)
    again = None if target is None or hardened.ranking or hardened.verdict not in MISSED else function(replace(request, force=True))
    own = {hardened.channels: after.document()} if hardened.written is not None and again is None and hardened.channels else {}
    return {
        "target": target,
        "verdict": hardened.verdict,
        "labels": accused(hardened),
        "label_right": label_right(target, hardened),
        "channels": {"pruned": hardened.channels, "of": hardened.of},
        "threshold": hardened.threshold,
        "written": hardened.written is not None,
        "untouched": hardened.written == original,
        "before": before.document(),
        "after": after.document(),
        "drop": drop(before, after),
        "left": hardened.left,
        "forced": None if again is None else forced(again, original, on, cache),
        "oracle": oracle(request.model, (again or hardened).ranking, on, cache, own),
        "facts": hardened.facts,
    }


def forced(again: Hardened, original: bytes, on: Attacked, cache: Path) -> dict[str, Any]:
    """What a forced cut gives."""
    written = original if again.written is None else again.written
    return {"channels": again.channels, "labels": accused(again), "left": again.left, **measured(written, on, cache).document()}


def accused(hardened: Hardened) -> list[dict[str, Any]]:
    """The accused labels as a result keeps them."""
    return [{"index": index, "share": share} for index, share in hardened.labels]


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
