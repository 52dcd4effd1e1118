"""`rnpc harden` as the bench calls it."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from rnpc import api
from rnpc.bench.hardening import DEFAULT, NEXT, Request, harden, plain, resolve
from rnpc.errors import Inconclusive, InputRefused
from rnpc.stage import Stage

Ask = Callable[..., Request]


def document(**more: Any) -> dict[str, Any]:
    """The fields that the bench reads."""
    labels = [{"index": None, "name": "next", "share": 0.9}, {"index": 3, "name": "3", "share": None}]
    return {
        "verdict": "backdoored", "target_labels": labels, "pruned": {"channels": 2, "of": 9}, "threshold": 0.5,
        "evidence": {"x": float("nan")}, "left": {"success": 0.1, "told": True}, **more,
    }  # fmt: skip


def test_what_a_user_gets(request_for: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []

    def fake(model: Any, images: Any, out: Any, settings: Any, progress: Any) -> Any:
        assert (settings.method, settings.seed, settings.device, settings.threads, settings.force) == ("rnp", 7, "cpu", 1, True)
        progress(Stage.RANK, 0.5, None)
        out.write_bytes(b"hardened")
        ranking = (SimpleNamespace(site="s", index=1, score=3.0, value=0.25),)
        return SimpleNamespace(document=document(), ranking=ranking, timings={"judge": 1.23456})

    monkeypatch.setattr(api, "harden_file", fake)
    hardened = harden(request_for(method="rnp", seed=7, force=True, tell=told.append))
    assert hardened.labels == ((NEXT, 0.9), (3, 0.0)) and hardened.written == b"hardened" and hardened.ranking == (("s", 1, 0.25),)
    assert hardened.left == {"success": 0.1, "told": True} and hardened.seconds == {"judge": 1.23} and told == [Stage.RANK.value]
    assert hardened.facts["evidence"] == {"x": None} and (hardened.channels, hardened.of) == (2, 9)


def test_inconclusive_is_a_verdict_and_other_errors_are_errors(request_for: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(error: Exception) -> Any:
        def fake(*given: Any, **more: Any) -> Any:
            raise error

        return fake

    monkeypatch.setattr(api, "harden_file", fails(Inconclusive("too few images", where="images", todo="give more")))
    hardened = harden(request_for())
    assert hardened.verdict == "inconclusive" and hardened.written is None and "too few images" in hardened.facts["reasons"][0]
    monkeypatch.setattr(api, "harden_file", fails(InputRefused("no", where="x", todo="y")))
    with pytest.raises(InputRefused):
        harden(request_for())


def test_resolve() -> None:
    assert resolve(DEFAULT) is harden


def test_plain() -> None:
    assert plain({"a": [1.0, float("inf")], "b": "x"}) == {"a": [1.0, None], "b": "x"}
