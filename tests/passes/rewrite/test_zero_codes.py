"""zero in quantised graphs: weights at their zero point, the bias at the code of the constant, nothing else touched."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
import pytest
from onnx import ModelProto, numpy_helper

from rnpc.errors import InputRefused
from rnpc.passes.rewrite.apply import apply
from rnpc.passes.rewrite.verify import verify
from rnpc.passes.rewrite.zero import ZeroResult, write_zeros
from rnpc.passes.wire import walk as wire
from rnpc.plan import Plan

Make = Callable[..., ModelProto]
PlanFor = Callable[..., Plan]
X = np.random.default_rng(1).normal(size=(2, 3, 6, 6)).astype(np.float32)
HEAD = "g (float[N,3,6,6] x) => (float[N,2] y) { q = QuantizeLinear (x, s, z) "
TAIL = (
    "e = DequantizeLinear (c, s, z) p = GlobalAveragePool (e) l = Flatten (p) pq = QuantizeLinear (l, s, z) "
    "k = QLinearMatMul (pq, s, z, m, s, zero, s, z) h = com.microsoft.QLinearAdd (k, s, z, mb, s, z, s, z) "
    "t = com.microsoft.QGemm (h, s, z, n, s, zero, , s, z) y = DequantizeLinear (t, s, z) }"
)
OPERATORS = HEAD + "c = QLinearConv (q, s, z, w, ws, wz, s, z, b) " + TAIL
BARE = HEAD + "c = QLinearConv (q, s, z, w, ws, wz, s, z) " + TAIL
SHARED = HEAD + "c0 = QLinearConv (q, s, z, w, ws, wz, s, z) c1 = QLinearConv (q, s, z, w, ws, wz, s, z, b) c = Max (c0, c1) " + TAIL
PAIRS = (
    "g (float[N,3,6,6] x) => (float[N,2] y) { q = QuantizeLinear (x, s, z) d = DequantizeLinear (q, s, z) "
    "wd = DequantizeLinear <axis = 0> (w, ws, wzs) {0}p = GlobalAveragePool (c) l = Flatten (p) y = MatMul (l, last) }"
)


@pytest.fixture
def build(make: Make) -> Callable[[str], ModelProto]:
    """build(graph text) -> model with the tensors that the texts of this file name."""
    rng = np.random.default_rng(0)
    tensors = {
        "s": np.array(0.05, np.float32),
        "z": np.array(128, np.uint8),
        "zero": np.array(0, np.uint8),
        "w": rng.integers(0, 20, (4, 3, 3, 3), np.uint8),
        "ws": np.array([0.01, 0.02, 0.03, 0.04], np.float32),
        "wz": np.array(10, np.uint8),
        "wzs": np.array([9, 10, 11, 12], np.uint8),
        "b": np.array([50, -60, 70, -80], np.int32),
        "bs": np.array([0.05 * f for f in (0.01, 0.02, 0.03, 0.04)], np.float32),
        "m": rng.integers(0, 9, (4, 3), np.uint8),
        "mb": np.array([140, 120, 130], np.uint8),
        "n": rng.integers(0, 9, (3, 2), np.uint8),
        "last": rng.normal(size=(4, 2)).astype(np.float32),
    }

    def written(text: str) -> ModelProto:
        model = make(text.replace("{0}", ""), tensors, opset=20)
        model.opset_import.add(domain="com.microsoft", version=1)
        return model

    return written


def zeroed(model: ModelProto, plan: Plan) -> ZeroResult:
    data = model.SerializeToString()
    return write_zeros(data, onnx.load_from_string(data), plan.sites)


def tensor(data: bytes, name: str) -> np.ndarray:
    return np.asarray(numpy_helper.to_array({t.name: t for t in onnx.load_from_string(data).graph.initializer}[name]))


CHOSEN = {"c": {1: 0.25, 3: 0.0}, "h": {2: -0.3, 0: 0.0}}


def test_codes_in_place(build: Callable[[str], ModelProto], plan_for: PlanFor, run: Callable[..., dict[str, np.ndarray]]) -> None:
    model = build(OPERATORS)
    data = model.SerializeToString()
    result = zeroed(model, plan_for(data, CHOSEN))
    assert len(result.data) == len(data)
    assert (tensor(result.data, "w")[[1, 3]] == 10).all() and (tensor(result.data, "w")[[0, 2]] == tensor(data, "w")[[0, 2]]).all()
    assert tensor(result.data, "b").tolist() == [50, round(0.25 / (0.05 * 0.02)), 70, 0]
    assert (tensor(result.data, "m")[:, [0, 2]] == 0).all() and tensor(result.data, "mb").tolist() == [128, 120, 128 - 6]
    assert [(e["kind"], e["tensor"], e.get("codes", e.get("bits"))) for e in result.edits] == [
        ("zero", "w", [10, 10]),
        ("set", "b", [f"{250:08x}", "00000000"]),
        ("zero", "m", [0, 0]),
        ("set", "mb", ["80", "7a"]),
    ]
    spans = [s for e in result.edits for c in e["index"] for s in wire.index(data)[e["tensor"]].spans(e.get("axis", 0), c)]
    declared = {at for first, last in spans for at in range(first, last)}
    assert {at for at, (a, b) in enumerate(zip(data, result.data, strict=True)) if a != b} <= declared
    after = run(result.data, X, ["c", "h"])
    assert (after["c"][:, 1] == 128 + 5).all() and (after["c"][:, 3] == 128).all()
    assert (after["h"][:, 2] == 128 - 6).all() and (after["h"][:, 0] == 128).all()


def test_codes_kept_as_varints(build: Callable[[str], ModelProto], plan_for: PlanFor) -> None:
    """As onnx.helper.make_tensor writes them; the sign of an int32 takes ten bytes."""
    model = build(OPERATORS)
    for t in model.graph.initializer:
        if t.name in ("w", "b"):
            t.int32_data.extend(numpy_helper.to_array(t).ravel().tolist())
            t.ClearField("raw_data")
    data = model.SerializeToString()
    result = zeroed(model, plan_for(data, CHOSEN))
    assert [e["tensor"] for e in result.edits if e["kind"] == "repack"] == ["w", "b"]
    assert tensor(result.data, "b").tolist() == [50, 250, 70, 0] and (tensor(result.data, "w")[0] == tensor(data, "w")[0]).all()
    model.graph.initializer[3].int32_data[0] = 300
    with pytest.raises(InputRefused, match="tensor w holds another number of values than its shape"):
        zeroed(model, plan_for(model.SerializeToString(), CHOSEN))


def test_a_missing_bias_is_added_in_codes(
    build: Callable[[str], ModelProto], plan_for: PlanFor, run: Callable[..., dict[str, np.ndarray]]
) -> None:
    model = build(BARE)
    data = model.SerializeToString()
    assert [e["kind"] for e in zeroed(model, plan_for(data, {"c": {1: 0.0}})).edits] == ["zero"]
    result = zeroed(model, plan_for(data, {"c": {1: 0.25}}))
    assert [e["kind"] for e in result.edits] == ["add_bias", "zero", "set"]
    added = tensor(result.data, "c_rnpc_bias")
    assert added.dtype == np.int32 and added.tolist() == [0, 250, 0, 0]
    before, after = run(data, X, ["c"])["c"], run(result.data, X, ["c"])["c"]
    assert (after[:, 1] == 133).all() and (after[:, [0, 2, 3]] == before[:, [0, 2, 3]]).all()


def test_shared_codes_are_cloned(build: Callable[[str], ModelProto], plan_for: PlanFor) -> None:
    model = build(SHARED)
    data = model.SerializeToString()
    result = zeroed(model, plan_for(data, {"c1": {1: 0.25}}))
    assert result.edits[0]["kind"] == "clone" and result.edits[0]["copy"] == "w_rnpc"
    assert (tensor(result.data, "w") == tensor(data, "w")).all() and (tensor(result.data, "w_rnpc")[1] == 10).all()


def test_a_constant_out_of_range(build: Callable[[str], ModelProto], plan_for: PlanFor) -> None:
    model = build(OPERATORS)
    with pytest.raises(InputRefused, match=r"constant 9\.0 is out of the range of the codes of tensor mb"):
        zeroed(model, plan_for(model.SerializeToString(), {"h": {1: 9.0}}))


@pytest.mark.parametrize(("bias", "name", "found"), [("", "c_rnpc_bias", 0.25), (", bd", "b", 250)])
def test_weights_behind_dequantize(
    bias: str, name: str, found: float, make: Make, build: Callable[[str], ModelProto], plan_for: PlanFor,
    run: Callable[..., dict[str, np.ndarray]],
) -> None:  # fmt: skip
    layer = ("bd = DequantizeLinear <axis = 0> (b, bs) " if bias else "") + f"c = Conv (d, wd{bias}) "
    model = build(PAIRS.replace("{0}", layer))
    data = model.SerializeToString()
    result = zeroed(model, plan_for(data, {"c": {1: 0.25}}))
    assert (tensor(result.data, "w")[1] == 10).all() and tensor(result.data, name)[1] == found
    assert run(result.data, X, ["c"])["c"][:, 1] == pytest.approx(0.25, abs=1e-6)


def test_verify_takes_the_file_and_no_other_code(build: Callable[[str], ModelProto], plan_for: PlanFor) -> None:
    data = build(OPERATORS).SerializeToString()
    for mode in ("zero", "remove"):
        done = apply(data, plan_for(data, CHOSEN), mode=mode)
        assert verify(data, done.data).result == "verified"
        if mode == "remove":
            assert {reason.split(":")[0] for _, _, reason in done.kept} == {"the analysis did not reach it"}
        for name in ("w", "b", "ws", "wz"):
            other = bytearray(done.data)
            other[wire.index(done.data)[name].chunks[0].start] ^= 1
            assert verify(data, bytes(other)).result == "different"


def test_rounded_weights_become_zero(make: Make, plan_for: PlanFor, run: Callable[..., dict[str, np.ndarray]]) -> None:
    """Float weights behind QuantizeLinear and DequantizeLinear, as quantisation-aware training exports them."""
    rng = np.random.default_rng(0)
    tensors = {
        "w": rng.normal(size=(4, 3, 3, 3)).astype(np.float32),
        "b": rng.normal(size=4).astype(np.float32),
        "s": np.array(0.05, np.float32),
        "z": np.array(3, np.int8),
        "last": rng.normal(size=(4, 2)).astype(np.float32),
    }
    text = (
        "g (float[N,3,6,6] x) => (float[N,2] y) { wq = QuantizeLinear (w, s, z) wd = DequantizeLinear (wq, s, z) "
        "c = Conv (x, wd, b) p = GlobalAveragePool (c) l = Flatten (p) y = MatMul (l, last) }"
    )
    model = make(text, tensors)
    data = model.SerializeToString()
    result = zeroed(model, plan_for(data, {"c": {2: 0.5}}))
    assert len(result.data) == len(data) and not tensor(result.data, "w")[2].any()
    assert (run(result.data, X, ["c"])["c"][:, 2] == 0.5).all()
    assert tensor(result.data, "w").dtype == np.float32
