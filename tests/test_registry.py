"""The registry: closed ranges, no overlap, a miss is None."""

from __future__ import annotations

import pytest

from rnpc.registry import Registry, since_version


def test_finds_by_the_version_that_the_opset_resolves_to() -> None:
    table: Registry[str] = Registry("test")
    table.register("Softmax", 1, 11)("flat")
    table.register("Softmax", 13)("axis")
    assert [table.find("Softmax", opset) for opset in (7, 12, 13, 20)] == ["flat", "flat", "axis", "axis"]
    assert table.find("Softmax", 13, "ai.onnx") == "axis"


def test_a_version_outside_the_range_is_a_miss() -> None:
    table: Registry[str] = Registry("test")
    table.register("Conv", 1, 11)("old")
    assert table.find("Conv", 21) == "old"
    assert table.find("Conv", 22) is None


def test_unknown_operators_and_domains_are_misses() -> None:
    table: Registry[str] = Registry("test")
    assert table.find("Conv", 13) is None
    assert table.find("FusedConv", 1, "com.microsoft") is None
    assert since_version("NoSuchOperator", 13) is None


@pytest.mark.parametrize(("first", "last"), [(1, 1), (11, 22), (5, 12), (1, 30)])
def test_overlap_raises(first: int, last: int) -> None:
    table: Registry[str] = Registry("test")
    table.register("Conv", 1, 11)("old")
    with pytest.raises(ValueError, match=r"test: Conv: .* overlaps 1 to 11"):
        table.register("Conv", first, last)("new")


def test_empty_range_raises() -> None:
    with pytest.raises(ValueError, match="empty range"):
        Registry[str]("test").register("Conv", 11, 1)("wrong")


def test_iterates_in_order() -> None:
    table: Registry[int] = Registry("test")
    for name, first in (("Relu", 6), ("Add", 13), ("Add", 7)):
        table.register(name, first)(0)
    assert [(e.op_type, e.first) for e in table] == [("Add", 7), ("Add", 13), ("Relu", 6)]
