"""Values as JSON knows them."""

from __future__ import annotations

import base64

import numpy as np
import pytest

from rnpc.panel import Line, Words
from rnpc.report.plain import plain_value


def test_numbers_keep_seven_digits_and_nan_is_null() -> None:
    assert plain_value(1 / 3) == 0.3333333 and plain_value(1 / 3, exact=True) == 1 / 3
    assert plain_value([float("nan"), float("inf"), np.float64(0.5), np.int64(3), True, None, "a"]) == [None, None, 0.5, 3, True, None, "a"]


def test_dataclasses_arrays_and_mappings() -> None:
    assert plain_value(Words("t", ("a",))) == {"title": "t", "lines": ["a"], "caption": ""}
    line = plain_value(Line("a", np.arange(2), np.array([0.5, np.nan])))
    assert line["x"] == [0, 1] and line["y"] == [0.5, None] and line["low"] is None
    assert plain_value({1: np.zeros((1, 2))}) == {"1": [[0.0, 0.0]]}


def test_a_picture_is_base64_of_float32() -> None:
    array = np.arange(12, dtype=np.float64).reshape(3, 2, 2)
    found = plain_value(array)
    assert found["shape"] == [3, 2, 2] and np.array_equal(np.frombuffer(base64.b64decode(found["base64"]), "<f4"), array.ravel())


def test_anything_else_is_refused() -> None:
    with pytest.raises(TypeError, match="type set has no JSON form"):
        plain_value({"a": {1, 2}})
