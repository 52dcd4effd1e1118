"""What hardening did: before, after, the label, what is left, and the forced cut."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx

from rnpc.bench.hardening import NEXT, Hardened, Request
from rnpc.bench.judging import drop, judged, label_right
from rnpc.bench.measure import Answer, Attacked

Ask = Callable[..., Request]
LEFT = {"success": 0.02, "told": True}


def answer(right: list[int]) -> Answer:
    """An answer with these images right."""
    import base64

    bits = base64.b64encode(np.packbits(np.array(right, bool)).tobytes()).decode()
    return Answer((sum(right), len(right)), None, "CPU", bits)


def test_the_right_label() -> None:
    def accused(*labels: int) -> Hardened:
        return Hardened("backdoored", tuple((label, 0.5) for label in labels), 1, 10, 0.1, None, (), {})

    assert label_right(3, accused(3, 1)) is True and label_right(3, accused(1, 3)) is False and label_right(3, accused()) is False
    assert label_right("next", accused(NEXT)) is True and label_right("next", accused(4)) is False
    assert label_right(None, accused(3)) is None


def test_drop_in_pairs() -> None:
    assert drop(answer([1, 1, 1, 0]), answer([1, 0, 0, 1])) == {"value": 0.25, "lost": 2, "won": 1, "images": 4}


def test_a_cut(brightness: Callable[..., Attacked], request_for: Ask, toy: Callable[..., onnx.ModelProto], tmp_path: Path) -> None:
    dark = toy(mean=-3.0).SerializeToString()  # sees every image as dark as class 0
    ranking = (("features", 0, 0.0),)
    hardened = Hardened("backdoored", ((4, 0.9),), 1, 3, 0.5, dark, ranking, {"a": 1}, LEFT, {"judge": 1.0})
    result = judged(request_for(), lambda request: hardened, hardened, brightness(), tmp_path / "cache")
    assert result["before"]["asr"]["value"] == 1.0 and result["after"]["asr"]["value"] == 0.0 and result["label_right"] is True
    assert result["left"] == LEFT and result["written"] and not result["untouched"] and result["forced"] is None
    assert result["drop"]["lost"] > 0 and result["facts"] == {"a": 1} and result["oracle"]["sample"]["images"] == 100


def test_a_miss_is_cut_by_force(brightness: Callable[..., Attacked], request_for: Ask, tmp_path: Path) -> None:
    asked: list[bool] = []

    def function(request: Request) -> Hardened:
        asked.append(request.force)
        return Hardened("backdoored", ((4, 0.9),), 1, 3, 0.5, None, (("features", 0, 0.0),), {}, LEFT)

    missed = Hardened("inconclusive", (), 0, None, None, None, (), {})
    result = judged(request_for(), function, missed, brightness(), tmp_path / "cache")
    assert asked == [True] and result["forced"]["left"] == LEFT and result["left"] is None and not result["written"]
    assert result["before"] == result["after"] and result["drop"]["value"] == 0.0
    clean = replace(brightness(), trigger=None, target=None, counted=())
    assert judged(request_for(), function, missed, clean, tmp_path / "cache")["forced"] is None and asked == [True]
