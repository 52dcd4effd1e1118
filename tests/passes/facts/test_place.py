"""A place says where a site's tensors are read, and refuses codes in which a channel cannot be made a constant."""

from __future__ import annotations

import numpy as np
from onnx import TensorProto, helper, numpy_helper

from rnpc.passes.facts.coding import Coding
from rnpc.passes.facts.place import is_row, made
from rnpc.passes.facts.stored import Stored

NODE = helper.make_node("Gemm", ["x", "w", "b"], ["y"])


def read(*dims: int, coding: Coding | None = None, flipped: bool = False) -> Stored:
    return Stored("t", numpy_helper.from_array(np.zeros(dims, np.float16), "t"), (0, 1), dims, flipped, False, coding)


def codes(scale: float, zero: list[int], axis: int) -> Coding:
    return Coding(np.full(len(zero), scale, np.float32), np.array(zero), axis, TensorProto.INT8, TensorProto.DOUBLE)


def test_numbers_and_codes() -> None:
    plain = made(NODE, 0, "linear", read(3, 2, flipped=True), 1, None, (0, 2))
    assert plain is not None and plain.points is None and plain.bias == (0, 2)
    assert (plain.site.channels, plain.site.weight_axis, plain.bias_type) == (2, 0, TensorProto.FLOAT16)
    coded = made(NODE, 0, "linear", read(3, 2, coding=codes(0.1, [1, 2], 1)), 1, read(2, coding=codes(0.5, [3], 0)), (0, 2))
    assert coded is not None and coded.points == (1, 2) and coded.bias_type == TensorProto.DOUBLE
    assert coded.site.codes is not None and coded.site.codes.zero == (3, 3)


def test_codes_that_do_not_do() -> None:
    assert made(NODE, 0, "linear", read(2, 2, coding=codes(0.1, [1, 2], 0)), 1, None, (0, 2)) is None
    assert made(NODE, 0, "linear", read(2, 2), 1, read(2, coding=codes(-1.0, [0], 0)), (0, 2)) is None


def test_rows() -> None:
    assert is_row(read(4), 4) and is_row(read(1, 4), 4) and not is_row(read(4, 1), 4) and not is_row(read(3), 4)
