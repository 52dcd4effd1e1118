"""Sites of quantised graphs: layers on codes, and layers whose weights stand behind DequantizeLinear."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from onnx import ModelProto

from rnpc.passes.canonical.canonical import canonical
from rnpc.passes.facts.sites import find_places, find_sites

Make = Callable[..., ModelProto]
S, Z = np.array(0.1, np.float32), np.array(7, np.uint8)
TENSORS = {
    "s": S,
    "z": Z,
    "zero": np.array(0, np.uint8),
    "w": np.arange(108, dtype=np.uint8).reshape(4, 3, 3, 3),
    "ws": np.array([0.1, 0.2, 0.3, 0.4], np.float32),
    "wz": np.array([1, 2, 3, 4], np.uint8),
    "b": np.array([5, 6, 7, 8], np.int32),
    "bs": np.array([0.01, 0.02, 0.03, 0.04], np.float32),
    "m": np.arange(12, dtype=np.uint8).reshape(4, 3),
    "ms": np.array([0.1, 0.2, 0.3], np.float32),
    "mb": np.array([9, 8, 7], np.uint8),
    "n": np.arange(6, dtype=np.uint8).reshape(3, 2),
    "f": np.ones((4, 3, 3, 3), np.float32),
    "fb": np.ones(3, np.float32),
}
HEAD = "g (float[N,3,6,6] x) => (float[N,2] y) { q = QuantizeLinear (x, s, z) d = DequantizeLinear (q, s, z) "
BACK = "e = DequantizeLinear ({0}, s, z) p = GlobalAveragePool (e) l = Flatten (p) pq = QuantizeLinear (l, s, z) "
LAST = "t = com.microsoft.QGemm (h, s, z, n, s, zero, , s, z) y = DequantizeLinear (t, s, z) }"


def model(make: Make, body: str) -> ModelProto:
    built = make(HEAD + body, TENSORS, opset=20)
    built.opset_import.add(domain="com.microsoft", version=1)
    return built


def hidden(layer: str) -> str:
    """A QLinearConv, and `layer`, which makes h from the pooled codes pq."""
    return "c = QLinearConv (q, s, z, w, ws, wz, s, z, b) " + BACK.format("c") + layer + LAST


GEMM = "h = com.microsoft.QGemm (pq, s, z, m, ms, zero, , s, z) "
MATMUL = "k = QLinearMatMul (pq, s, z, m, ms, zero, s, z) h = com.microsoft.QLinearAdd ({0}, s, z) "


@pytest.mark.parametrize(
    ("layer", "bias", "codes"),
    [
        (GEMM, None, "int32"),
        (MATMUL.format("k, s, z, mb, s, z"), "mb", "uint8"),
        (MATMUL.format("mb, s, z, k, s, z"), "mb", "uint8"),
    ],
)
def test_layers_on_codes(make: Make, layer: str, bias: str | None, codes: str) -> None:
    built = model(make, hidden(layer))
    conv, dense = find_sites(built)
    assert (conv.value, conv.op_type, conv.kind, conv.weight, conv.bias) == ("c", "QLinearConv", "conv", "w", "b")
    assert conv.codes is not None and conv.codes.scale == pytest.approx((0.01, 0.02, 0.03, 0.04)) and conv.codes.zero == (0,) * 4
    assert (dense.value, dense.kind, dense.weight, dense.weight_axis, dense.bias) == ("h", "linear", "m", 1, bias)
    assert dense.codes is not None and dense.codes.high == np.iinfo(codes).max
    assert dense.codes.zero == ((7,) * 3 if bias else (0,) * 3)
    assert [place.points for place in find_places(built)] == [(1, 2, 3, 4), (0, 0, 0)]
    twin = find_sites(canonical(built))
    assert [(site.value, site.kind, site.channels) for site in twin] == [("c", "conv", 4), ("h", "linear", 3)]


@pytest.mark.parametrize(
    "layer",
    [
        MATMUL.format("k, s, zero, mb, s, z"),  # zero comes out of the product as code 7
        "k = QLinearMatMul (pq, s, z, m, ms, zero, s, z) h = com.microsoft.QLinearMul (k, s, z, mb, s, z, s, z) ",
        "h = com.microsoft.QGemm (pq, s, z, m, ms, zero, computed, s, z) computed = Cast <to = 6> (ms) ",
        "k = QLinearMatMul (pq, s, z, m, ms, zero, s, z) h = Identity (k) ",
    ],
)
def test_what_is_no_site(make: Make, layer: str) -> None:
    assert [site.value for site in find_sites(model(make, hidden(layer)))] == ["c"]


CODED = "wd = DequantizeLinear <axis = 0> (w, ws, wz) "
FLOATS = "p = GlobalAveragePool (c) l = Flatten (p) "
DENSE = (
    "md = DequantizeLinear <axis = 1> (m, ms, mz) k = MatMul (l, md) kq = QuantizeLinear (k, s, z) kd = DequantizeLinear (kq, s, z) "
    "h = Add (kd, fb) nd = DequantizeLinear (n, s, zero) y = MatMul (h, nd) }"
)


@pytest.mark.parametrize(
    ("layer", "weight", "bias", "points"),
    [
        (CODED + "bd = DequantizeLinear <axis = 0> (b, bs) c = Conv (d, wd, bd) ", "w", "b", (1, 2, 3, 4)),
        (CODED + "c = Conv (d, wd) ", "w", None, (1, 2, 3, 4)),
        ("wq = QuantizeLinear (f, s, z) wd = DequantizeLinear (wq, s, z) c = Conv (d, wd) ", "f", None, None),
    ],
)
def test_weights_behind_dequantize(make: Make, layer: str, weight: str, bias: str | None, points: tuple[int, ...] | None) -> None:
    tensors = {**TENSORS, "mz": np.array([1, 2, 3], np.uint8)}
    built = make(HEAD + layer + FLOATS + DENSE, tensors, opset=20)
    conv, dense = find_places(built)
    assert (conv.site.value, conv.site.weight, conv.site.bias, conv.points) == ("c", weight, bias, points)
    assert conv.site.codes is None if bias is None else conv.site.codes is not None and conv.site.codes.low == -(2**31)
    assert (dense.site.value, dense.site.weight, dense.site.bias, dense.points, dense.site.codes) == ("h", "m", "fb", (1, 2, 3), None)
    assert [site.value for site in find_sites(canonical(built))] == ["c", "h"]


@pytest.mark.parametrize(
    "layer",
    [
        CODED + "c0 = Conv (d, wd) c = Conv (d, wd) ",  # shared behind one DequantizeLinear
        "wq = QuantizeLinear (f, s, z) wd = DequantizeLinear (wq, s, zero) c = Conv (d, wd) ",  # zero becomes another number
        "wd = DequantizeLinear <axis = 1> (w, ms, mz) c = Conv (d, wd) ",  # a zero point for each input
        CODED + "bq = QuantizeLinear (fours, s, z) bd = DequantizeLinear (bq, s, z) c = Conv (d, wd, bd) ",  # the constant would be rounded
    ],
)
def test_weights_that_cannot_be_cut(make: Make, layer: str) -> None:
    tensors = {**TENSORS, "mz": np.array([1, 2, 3], np.uint8), "fours": np.ones(4, np.float32)}
    built = make(HEAD + layer + FLOATS + DENSE, tensors, opset=20)
    assert [site.value for site in find_sites(built)] == ["h"]
