"""How stored codes are read, and what their entries can say."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from onnx import ModelProto

from rnpc.passes.facts.coding import Coding, is_linear, of_node, product, zero_code
from rnpc.passes.facts.view import View
from rnpc.program import Codes, FilterSite

Make = Callable[..., ModelProto]


def coding(make: Make, call: str, opset: int = 21, **tensors: np.ndarray) -> Coding | None:
    """How `d = DequantizeLinear call` reads q, int8 [3, 2]."""
    given = {"q": np.zeros((3, 2), np.int8), "s": np.array([0.5], np.float32), "s3": np.array([1, 2, 3], np.float32), **tensors}
    view = View(make("g (float[N] x) => (float[3,2] d) { k = Abs (x) d = DequantizeLinear " + call + " }", given, opset=opset))
    return of_node(view, view.nodes[1], view.tensors["q"])


def test_one_scale_and_one_a_channel(make: Make) -> None:
    whole, each = coding(make, "(q, s)"), coding(make, "<axis = 0> (q, s3, z)", z=np.array([4, 5, 6], np.int8))
    assert whole is not None and each is not None
    assert whole.points(3, 0) == (0, 0, 0) and each.points(3, 0) == (4, 5, 6) and each.points(2, 1) is None
    codes = each.codes(3)
    assert codes == Codes((1.0, 2.0, 3.0), (4, 5, 6), -128, 127)
    assert Coding(np.array([0.0]), np.zeros(1, np.int64), 0, 3).codes(3) is None


def test_what_is_not_read(make: Make) -> None:
    assert coding(make, "<axis = 0> (q, k)") is None, "computed"
    assert coding(make, "<axis = 1> (q, s3)") is None, "along another axis"
    assert coding(make, "<axis = 0, block_size = 2> (q, b)", b=np.ones((2, 2), np.float32)) is None
    assert coding(make, "(q, s)", q=np.zeros((3, 2), np.int64)) is None


def test_zero_points_by_name(make: Make) -> None:
    view = View(make("g (float[N] x) => (float[N] y) { y = Abs (x) }", {"z": np.array([3], np.uint8), "zz": np.zeros(2, np.uint8)}))
    assert (zero_code(view, ""), zero_code(view, "z"), zero_code(view, "zz"), zero_code(view, "y")) == (0, 3, None, None)
    assert not is_linear(view.nodes[0], "Abs2") and is_linear(view.nodes[0], "Abs")


def test_scale_of_products() -> None:
    found = product([np.array([0.5], np.float32), np.array([2, 4], np.float32)], 2.0)
    assert found is not None and found.tolist() == [2.0, 4.0] and found.dtype == np.float32
    assert product([None, np.ones(1)]) is None and product([np.ones(2), np.ones(2)]) is None


@pytest.mark.parametrize(("value", "held"), [(0.0, 0.0), (0.5, 0.5), (0.74, 0.5), (0.75, 1.0), (-0.25, 0.0), (1e9, 63.0), (-1e9, -64.5)])
def test_a_constant_is_what_codes_can_say(value: float, held: float) -> None:
    site = FilterSite("v", 0, "Conv", "conv", 1, 2, "w", 0, "b", Codes((1.0, 0.5), (0, 1), -128, 127))
    assert site.held(1, value) == held == site.held(1, held)
    plain = FilterSite("v", 0, "Conv", "conv", 1, 2, "w", 0, "b")
    assert plain.held(1, value) == value
