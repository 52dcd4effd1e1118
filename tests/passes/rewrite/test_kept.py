"""Channels that stay, by reason."""

from __future__ import annotations

from rnpc.passes.rewrite.kept import REASONS, SHOWN, by_reason, lines, listed

KEPT = [("a", 3, "read"), ("b", 1, "last"), ("a", 7, "read"), ("c", 0, "read")]


def test_every_channel_is_listed() -> None:
    assert listed(KEPT)[1] == {"site": "b", "channel": 1, "why": "last"} and len(listed(KEPT)) == 4


def test_the_commonest_reason_comes_first() -> None:
    assert by_reason([("b", 1, "last"), *KEPT]) == {"read": {"a": [3, 7], "c": [0]}, "last": {"b": [1, 1]}}
    assert lines(KEPT) == ["3 channels stay, zeroed: read (a 3, 7; c 0)", "1 channel stays, zeroed: last (b 1)"]
    assert lines([]) == []


def test_a_long_list_is_cut() -> None:
    (line,) = lines([("a", c, "read") for c in range(SHOWN + 5)])
    assert line.startswith("17 channels stay") and line.endswith("11; and 5 more)")


def test_rare_reasons_are_counted() -> None:
    found = lines([("a", c, f"reason {c}") for c in range(REASONS + 2)] + [("a", 99, "reason 3")])
    assert len(found) == REASONS + 1 and "reason 3 (a 3, 99)" in found[0]
    assert found[-1] == "... and 2 more for 2 other reasons (--format json lists all)"
