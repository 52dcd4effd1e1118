"""Values as they stand in a list of differences: short, and cut around what is another."""

from __future__ import annotations

from rnpc.passes.rewrite.shown import Difference, apart, cut, signed


def test_long_values_are_cut_around_the_difference() -> None:
    one, two = "a" * 200 + "x" + "b" * 200, "a" * 200 + "y" + "b" * 200
    mine, other = apart([one], [two])
    assert "x" in mine and "y" in other and len(mine) < 70 and mine.startswith("...") and mine.endswith("...")
    assert apart([], [3]) == ("none", "3") and apart([b"\x01"], [b"\x02\x03"]) == ("01", "0203")


def test_cut_keeps_both_ends() -> None:
    text = "".join(map(str, range(100)))
    assert cut(text, 0).startswith("0123") and cut(text, 10**6).endswith("9899") and cut("short", 99) == "short"


def test_numbers_below_zero() -> None:
    assert [signed(v) for v in (0, 2**63 - 1, 2**64 - 1)] == [0, 2**63 - 1, -1]


def test_a_line_of_text() -> None:
    assert (
        str(Difference("node", ("graph", "node a (Conv)"), "present", "missing"))
        == "node: graph / node a (Conv): declared present, found missing"
    )
    assert str(Difference("metadata", (), "a plan", "none")) == "metadata: file: declared a plan, found none"
