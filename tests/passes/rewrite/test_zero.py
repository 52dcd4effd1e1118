"""zero: exactly the declared bytes change, and each planned channel is its constant in onnxruntime."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import replace

import ml_dtypes
import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import ModelProto, TensorProto, helper, numpy_helper

from rnpc.errors import InputRefused
from rnpc.passes.facts.sites import find_places, find_sites
from rnpc.passes.rewrite.check import check_plan
from rnpc.passes.rewrite.zero import ZeroResult, write_zeros
from rnpc.passes.wire import walk as wire
from rnpc.plan import Plan, Silence, SitePlan, bits_float

STRUCTURAL = {"clone", "add_bias", "repack"}
X = np.random.default_rng(1).normal(size=(2, 3, 6, 6)).astype(np.float32)


def apply(data: bytes, plan: Plan) -> ZeroResult:
    model = onnx.load_from_string(data)
    check_plan(data, find_sites(model), plan)
    return write_zeros(data, model, plan.sites)


def changed(before: bytes, after: bytes) -> set[int]:
    assert len(before) == len(after)
    return set(np.flatnonzero(np.frombuffer(before, np.uint8) != np.frombuffer(after, np.uint8)).tolist())


def declared(data: bytes, result: ZeroResult) -> set[int]:
    """Byte positions that the edits name."""
    tensors = wire.index(data)
    spans = [span for e in result.edits for c in e["index"] for span in tensors[e["tensor"]].spans(e.get("axis", 0), c)]
    return {at for first, last in spans for at in range(first, last)}


CHOSEN = {"a": {1: 0.5, 3: -0.25}, "n": {0: 2.0}, "h": {6: 0.0, 2: 1e-3}}


def test_only_declared_bytes_change(net: ModelProto, plan_for: Callable[..., Plan]) -> None:
    data = net.SerializeToString() + wire.block(4000, b"unknown")
    result = apply(data, plan_for(data, CHOSEN))
    assert not STRUCTURAL & {e["kind"] for e in result.edits}
    assert changed(data, result.data) <= declared(data, result)
    assert result.data.endswith(wire.block(4000, b"unknown"))


def test_channels_become_their_constants(net: ModelProto, plan_for: Callable[..., Plan], run: Callable[..., dict[str, np.ndarray]]) -> None:
    data = net.SerializeToString()
    result = apply(data, plan_for(data, CHOSEN))
    before, after = run(data, X, ["a", "n", "h", "y"]), run(result.data, X, ["a", "n", "h", "y"])
    for value, constants in CHOSEN.items():
        for channel, constant in constants.items():
            assert (after[value][:, channel] == np.float32(constant)).all()
    assert (after["a"][:, [0, 2]] == before["a"][:, [0, 2]]).all()
    assert not (after["y"] == before["y"]).all()


def test_declared_bits_redo_the_file(net: ModelProto, plan_for: Callable[..., Plan]) -> None:
    """A stranger with the original and the edits gets the same tensors."""
    data = net.SerializeToString()
    result = apply(data, plan_for(data, CHOSEN))
    ours = {t.name: numpy_helper.to_array(t).copy() for t in net.graph.initializer}
    for edit in result.edits:
        for k, channel in enumerate(edit["index"]):
            value = 0.0 if edit["kind"] == "zero" else bits_float(edit["bits"][k])
            np.moveaxis(ours[edit["tensor"]], edit.get("axis", 0), 0)[channel] = value
    for tensor in onnx.load_from_string(result.data).graph.initializer:
        assert numpy_helper.to_array(tensor).tobytes() == ours[tensor.name].tobytes()


def test_same_plan_same_bytes_and_empty_plan_no_change(net: ModelProto, plan_for: Callable[..., Plan]) -> None:
    data = net.SerializeToString()
    plan = plan_for(data, CHOSEN)
    assert apply(data, plan) == apply(data, Plan.from_json(plan.to_json()))
    assert apply(data, plan_for(data, {})).data is data


@given(st.floats(allow_nan=False, allow_infinity=False, width=32))
def test_exact_bits(value: float) -> None:
    tensors = [numpy_helper.from_array(np.ones(s, np.float32), n) for s, n in (((2, 1, 1, 1), "w"), ((2,), "b"), ((2, 3), "v"))]
    nodes = [
        helper.make_node("Conv", ["x", "w", "b"], ["a"]),
        helper.make_node("Flatten", ["a"], ["f"]),
        helper.make_node("MatMul", ["f", "v"], ["y"]),
    ]
    x = helper.make_tensor_value_info("x", 1, [1, 1, 1, 1])
    data = helper.make_model(
        helper.make_graph(nodes, "g", [x], [helper.make_tensor_value_info("y", 1, [1, 3])], tensors)
    ).SerializeToString()
    plan = Plan(
        "t", 0, hashlib.sha256(data).hexdigest(), "", Silence((SitePlan("a", "conv", (1,), (np.array(value, ">f4").tobytes().hex(),)),))
    )
    bias = wire.index(apply(data, plan).data)["b"]
    ((start, end),) = bias.spans(0, 1)
    assert apply(data, plan).data[start:end] == np.array(value, "<f4").tobytes()


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16, np.float64], ids=["fp16", "bf16", "double"])
@pytest.mark.parametrize("packed", [False, True], ids=["raw", "numbers"])
def test_other_types(dtype: type, packed: bool, net: ModelProto, plan_for: Callable[..., Plan]) -> None:
    kind = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    for tensor in net.graph.initializer:
        array = numpy_helper.to_array(tensor).astype(dtype)
        new = helper.make_tensor(tensor.name, kind, array.shape, array.astype(np.float32).ravel().tolist()) if packed else None
        tensor.CopyFrom(new or numpy_helper.from_array(array, tensor.name))
    data = net.SerializeToString()
    result = apply(data, plan_for(data, {"a": {1: 0.1}}))
    edited = {t.name: numpy_helper.to_array(t) for t in onnx.load_from_string(result.data).graph.initializer}
    assert edited["b0"][1] == np.float32(0.1).astype(dtype) and not edited["w0"][1].any() and edited["w0"][0].all()
    repacked = [e["tensor"] for e in result.edits if e["kind"] == "repack"]
    assert repacked == (["w0", "b0"] if packed and dtype is not np.float64 else [])


def test_overflow_in_half_precision_is_refused(net: ModelProto, plan_for: Callable[..., Plan]) -> None:
    for tensor in net.graph.initializer:
        tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor).astype(np.float16), tensor.name))
    data = net.SerializeToString()
    with pytest.raises(InputRefused, match="does not fit"):
        apply(data, plan_for(data, {"a": {1: 1e6}}))


TIED = """tied (float[N,3,6,6] x) => (float[N,2] y) {
    twin = Identity (b)
    u = Conv (x, w, b)
    v = Conv (x, w, twin)
    s = Sub (u, v)
    p = GlobalMaxPool (s)
    f = Flatten (p)
    y = Gemm (f, g)
}"""


def test_shared_tensors_are_cloned(
    make: Callable[..., ModelProto],
    random: Callable[..., np.ndarray],
    plan_for: Callable[..., Plan],
    run: Callable[..., dict[str, np.ndarray]],
) -> None:
    data = make(TIED, {"w": random(4, 3, 1, 1), "b": random(4), "g": random(4, 2)}).SerializeToString()
    result = apply(data, plan_for(data, {"v": {2: 0.75}}))
    assert [(e["kind"], e["tensor"], e.get("copy")) for e in result.edits[:2]] == [("clone", "w", "w_rnpc"), ("clone", "b", "b_rnpc")]
    before, after = run(data, X, ["u", "v"]), run(result.data, X, ["u", "v"])
    assert (after["u"] == before["u"]).all()
    assert (after["v"][:, 2] == 0.75).all() and (after["v"][:, :2] == before["v"][:, :2]).all()


def test_both_readers_of_a_shared_tensor(
    make: Callable[..., ModelProto],
    random: Callable[..., np.ndarray],
    plan_for: Callable[..., Plan],
    run: Callable[..., dict[str, np.ndarray]],
) -> None:
    data = make(TIED, {"w": random(4, 3, 1, 1), "b": random(4), "g": random(4, 2)}).SerializeToString()
    result = apply(data, plan_for(data, {"u": {0: 1.0}, "v": {2: 0.75}}))
    after = run(result.data, X, ["u", "v"])
    assert (after["u"][:, 0] == 1).all() and (after["v"][:, 2] == 0.75).all() and (after["v"][:, 0] != 1).all()


BARE = "bare (float[N,3,6,6] x) => (float[N,2] y) { a = Conv (x, w) p = GlobalMaxPool (a) f = Flatten (p) y = Gemm (f, g) }"


@pytest.mark.parametrize("ir", [3, 8])
def test_missing_bias_is_added_where_needed(
    ir: int,
    make: Callable[..., ModelProto],
    random: Callable[..., np.ndarray],
    plan_for: Callable[..., Plan],
    run: Callable[..., dict[str, np.ndarray]],
) -> None:
    model = make(BARE, {"w": random(4, 3, 1, 1), "g": random(4, 2)}, ir=ir)
    if ir < 4:
        model.graph.input.extend(helper.make_tensor_value_info(t.name, 1, t.dims) for t in model.graph.initializer)
    data = model.SerializeToString()
    silent = apply(data, plan_for(data, {"a": {1: 0.0}}))
    assert [e["kind"] for e in silent.edits] == ["zero"] and len(silent.data) == len(data)
    result = apply(data, plan_for(data, {"a": {1: 0.0, 3: -2.0}}))
    assert [e["kind"] for e in result.edits] == ["add_bias", "zero", "set"]
    onnx.checker.check_model(onnx.load_from_string(result.data))
    before, after = run(data, X, ["a"])["a"], run(result.data, X, ["a"])["a"]
    assert (after[:, 1] == 0).all() and (after[:, 3] == -2).all() and (after[:, [0, 2]] == before[:, [0, 2]]).all()


def test_a_bias_that_has_no_place_is_refused(net: ModelProto, plan_for: Callable[..., Plan], monkeypatch: pytest.MonkeyPatch) -> None:
    """It would have taken the place of another node's input."""
    from rnpc.passes.rewrite import zero

    places = [replace(p, bias=None, site=replace(p.site, bias=None)) if p.site.value == "n" else p for p in find_places(net)]
    monkeypatch.setattr(zero, "find_places", lambda model: places)
    data = net.SerializeToString()
    refused(data, plan_for(data, {"n": {1: 0.5}}), "site n has no bias and no place for one")
    assert [e["kind"] for e in apply(data, plan_for(data, {"n": {1: 0.0}})).edits] == ["zero"]


def test_structure_leaves_the_other_bytes(
    make: Callable[..., ModelProto], random: Callable[..., np.ndarray], plan_for: Callable[..., Plan]
) -> None:
    """Without its additions, a restructured file is the original with the declared bytes changed."""
    data = make(BARE, {"w": random(4, 3, 1, 1), "g": random(4, 2)}).SerializeToString() + wire.block(4000, b"unknown")
    result = apply(data, plan_for(data, {"a": {3: -2.0}}))
    model = onnx.load_from_string(result.data)
    del model.graph.initializer[-1]
    del model.graph.node[0].input[2]
    back = apply(data, plan_for(data, {"a": {3: 0.0}})).data
    assert model.SerializeToString(deterministic=True) == onnx.load_from_string(back).SerializeToString(deterministic=True)
    assert result.data.endswith(wire.block(4000, b"unknown"))


def test_weights_in_constant_nodes(
    make: Callable[..., ModelProto],
    random: Callable[..., np.ndarray],
    plan_for: Callable[..., Plan],
    run: Callable[..., dict[str, np.ndarray]],
) -> None:
    model = make(BARE.replace("(x, w)", "(x, w, b)"), {"w": random(4, 3, 1, 1), "g": random(4, 2)})
    nodes = [helper.make_node("Constant", [], ["b"], value=numpy_helper.from_array(random(4), "")), *model.graph.node]
    model = helper.make_model(helper.make_graph(nodes, "g", model.graph.input, model.graph.output, model.graph.initializer), ir_version=8)
    model.opset_import[0].version = 17
    data = model.SerializeToString()
    result = apply(data, plan_for(data, {"a": {3: -2.0}}))
    assert changed(data, result.data) <= declared(data, result)
    assert (run(result.data, X, ["a"])["a"][:, 3] == -2).all()


def refused(data: bytes, plan: Plan, match: str) -> None:
    with pytest.raises(InputRefused, match=match) as error:
        apply(data, plan)
    assert "\n" not in str(error.value)


def test_plans_that_do_not_fit(net: ModelProto, plan_for: Callable[..., Plan]) -> None:
    data = net.SerializeToString()
    good = plan_for(data, {"a": {1: 0.5}})
    site = good.sites[0]
    refused(data, replace(good, original="0" * 64), "made for 000000000000")
    refused(data, replace(good, rewrite="rnpc.zero/99"), "unknown")
    refused(data, replace(good, silence=Silence((site, site))), "listed twice")
    for bad, match in [
        (replace(site, site="no"), "no conv site no"),
        (replace(site, kind="bn"), "no bn site a"),
        (replace(site, channels=(4,)), "4 channels, the plan names 4"),
        (replace(site, channels=(-1,)), "channels"),
        (replace(site, channels=(1, 1), values=site.values * 2), "repeated"),
        (replace(site, channels=(0, 1)), "lack a value"),
        (replace(site, channels=(0, 1, 2, 3), values=site.values * 4), "all 4 channels"),
        (replace(site, values=("7f800000",)), "no finite"),
        (replace(site, values=("xyz",)), "no finite"),
    ]:
        refused(data, replace(good, silence=Silence((bad,))), match)


def test_ambiguous_tensors_are_refused(net: ModelProto, plan_for: Callable[..., Plan]) -> None:
    bias = next(t for t in net.graph.initializer if t.name == "b0")
    bias.float_data.extend([1.0] * 4)
    data = net.SerializeToString()
    refused(data, plan_for(data, {"a": {1: 0.5}}), "stored twice")
    bias.CopyFrom(TensorProto(name="b0", data_type=1, dims=[4], raw_data=bytes(12)))
    data = net.SerializeToString()
    refused(data, plan_for(data, {"a": {1: 0.5}}), "another number of values")


def test_half_precision_numbers_that_are_too_wide(net: ModelProto, plan_for: Callable[..., Plan]) -> None:
    bias = next(t for t in net.graph.initializer if t.name == "b0")
    bias.CopyFrom(TensorProto(name="b0", data_type=TensorProto.FLOAT16, dims=[4], int32_data=[1, 2, 3, 70_000]))
    data = net.SerializeToString()
    refused(data, plan_for(data, {"a": {1: 0.5}}), "another number of values")


def test_numbers_in_single_fields(net: ModelProto, plan_for: Callable[..., Plan]) -> None:
    """Old writers keep each number of a tensor in a field of its own."""
    index = next(k for k, t in enumerate(net.graph.initializer) if t.name == "w2")
    array = numpy_helper.to_array(net.graph.initializer[index])
    body = b"".join(wire.encode(4 << 3 | wire.FOUR) + value.tobytes() for value in array.ravel().astype("<f4"))
    head = TensorProto(name="w2", data_type=1, dims=array.shape).SerializeToString()
    del net.graph.initializer[index]
    graph = net.graph.SerializeToString() + wire.block(5, head + body)
    net.ClearField("graph")
    data = net.SerializeToString() + wire.block(7, graph)
    result = apply(data, plan_for(data, {"h": {2: 0.0, 6: 1.0}}))
    found = numpy_helper.to_array(onnx.load_from_string(result.data).graph.initializer[-1])
    assert not found[[2, 6]].any() and (found[[0, 1, 3, 4, 5]] == array[[0, 1, 3, 4, 5]]).all() and len(result.data) == len(data)
