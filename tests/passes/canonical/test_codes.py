"""Codes and what they stand for: rounding, zero points, axes, blocks, ranges of types."""

from __future__ import annotations

import numpy as np
import pytest

from rnpc.passes.canonical.codes import code, limits, real


def test_codes_and_reals() -> None:
    values = np.array([-1.0, -0.25, 0.25, 0.75, 99.0], np.float32)
    codes = code(values, np.float32(0.5), np.array(1, np.uint8))
    assert codes.tolist() == [0, 1, 1, 3, 199] and codes.dtype == np.uint8  # halves go to the even step, then the zero point is added
    np.testing.assert_array_equal(real(codes, np.array(0.5, np.float32), np.array(1, np.uint8)), [-0.5, 0, 0, 1, 99])
    blocks = real(np.ones((2, 5), np.int8), np.array([[1, 2, 3], [4, 5, 6]], np.float32), axis=1, block=2)
    np.testing.assert_array_equal(blocks, [[1, 1, 2, 2, 3], [4, 4, 5, 5, 6]])


@pytest.mark.parametrize(
    ("name", "found"),
    [("int8", (-128, 127)), ("uint8", (0, 255)), ("uint16", (0, 65535)), ("int32", (-(2**31), 2**31 - 1))],
)
def test_limits(name: str, found: tuple[int, int]) -> None:
    assert limits(np.dtype(name)) == found


def test_limits_of_floats() -> None:
    with pytest.raises(ValueError, match="float32"):
        limits(np.dtype(np.float32))
