"""One graph a claim: what goes, what stays and why, and what the file looks like afterwards."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import ModelProto, TensorProto, helper, numpy_helper

from rnpc.errors import InputRefused
from rnpc.passes.facts.sites import find_sites
from rnpc.passes.rewrite.remove import RemoveResult, remove
from rnpc.passes.rewrite.zero import write_zeros
from rnpc.passes.wire.walk import block
from rnpc.plan import Silence, SitePlan

Make = Callable[..., ModelProto]
PlanOf = Callable[..., Silence]
Same = Callable[..., RemoveResult]
HEAD = "g (float[N,3,6,6] x) => (float[N,2] y) {{ {} p = GlobalMaxPool (last) f = Flatten (p) y = Gemm (f, head) }}"


def whole(*shape: int) -> np.ndarray:
    """Small whole numbers, none of them zero."""
    rng = np.random.default_rng(sum(shape))
    return rng.choice([-2, -1, 1, 2], shape).astype(np.float32)


def dims(result: RemoveResult) -> dict[str, list[int]]:
    return {tensor.name: list(tensor.dims) for tensor in onnx.load_from_string(result.data).graph.initializer}


def reasons(result: RemoveResult) -> dict[tuple[str, int], str]:
    return {(site, channel): why for site, channel, why in result.kept}


CHAIN = HEAD.format("a = Conv (x, w0, b0) r = Relu (a) last = Conv (r, w1)")
PADDED = HEAD.format("a = Conv (x, w0, b0) r = Relu (a) last = Conv <pads = [1,1,1,1]> (r, w1)")
TENSORS = {"w0": whole(5, 3, 1, 1), "b0": whole(5), "w1": whole(4, 5, 3, 3), "head": whole(4, 2)}


def test_zeros_go_and_nothing_else_changes(make: Make, plan_of: PlanOf, same: Same) -> None:
    model = make(PADDED, TENSORS)
    model.metadata_props.add(key="who", value="me")
    result = same(model, plan_of(model, {"a": {1: 0.0, 4: 0.0}}))
    assert dims(result) == {"w0": [3, 3, 1, 1], "b0": [3], "w1": [4, 3, 3, 3], "head": [4, 2]}
    after = onnx.load_from_string(result.data)
    assert [n.SerializeToString() for n in after.graph.node] == [n.SerializeToString() for n in model.graph.node]
    assert [t.name for t in after.graph.initializer] == [
        t.name for t in model.graph.initializer
    ] and after.metadata_props == model.metadata_props
    assert not result.kept and [e["kind"] for e in result.edits] == ["zero", "set", "remove", "cut", "cut", "cut"]


FUNCTION = """<ir_version: 8, opset_import: ["" : 17, "my" : 1]> g (float[N,3,6,6] x) => (float[N,2] y) {
    a = my.Block (x, w0, b0) last = my.Block (a, w1, b1) p = GlobalMaxPool (last) f = Flatten (p) y = Gemm (f, head)
}
<domain: "my", opset_import: ["" : 17]> Block (i, s, t) => (o) { c = Conv (i, s, t) o = Relu (c) }"""


def test_channels_go_inside_local_functions(plan_of: PlanOf, same: Same) -> None:
    """It raised KeyError: the site has no name in a graph whose functions are not written out."""
    model = onnx.parser.parse_model(FUNCTION)
    model.graph.initializer.extend(numpy_helper.from_array(v, n) for n, v in {**TENSORS, "w1": whole(4, 5, 1, 1), "b1": whole(4)}.items())
    result = same(model, plan_of(model, {find_sites(model)[0].value: {1: 0.0, 4: 0.5}}))
    assert dims(result) == {"w0": [3, 3, 1, 1], "b0": [3], "w1": [4, 3, 1, 1], "b1": [4], "head": [4, 2]} and not result.kept
    after = onnx.load_from_string(result.data)
    assert not after.functions and [node.op_type for node in after.graph.node][:4] == ["Conv", "Relu", "Conv", "Relu"]
    assert [edit["function"] for edit in result.edits if edit["kind"] == "inline"] == ["Block", "Block"]
    onnx.checker.check_model(after, full_check=True)


def test_functions_stay_where_nothing_goes(plan_of: PlanOf, same: Same) -> None:
    model = onnx.parser.parse_model(
        FUNCTION.replace("last = my.Block (a, w1, b1)", "u = Conv (x, v) m = Add (a, u) last = my.Block (m, w1, b1)")
    )
    tensors = {**TENSORS, "w1": whole(4, 5, 1, 1), "b1": whole(4), "v": whole(5, 3, 1, 1)}
    model.graph.initializer.extend(numpy_helper.from_array(value, name) for name, value in tensors.items())
    site = find_sites(model)[0]
    result = same(model, plan_of(model, {site.value: {1: 0.0}}))
    assert len(onnx.load_from_string(result.data).functions) == 1 and len(result.kept) == 1


def test_unknown_fields_survive(make: Make, plan_of: PlanOf) -> None:
    model = make(PADDED, TENSORS)
    source = model.SerializeToString() + block(4000, b"unknown")
    assert block(4000, b"unknown") in remove(source, onnx.load_from_string(source), plan_of(model, {"a": {1: 0.0}})).data


def test_constants_fold_into_the_next_bias(make: Make, plan_of: PlanOf, same: Same) -> None:
    model = make(CHAIN, TENSORS)
    result = same(model, plan_of(model, {"a": {1: 3.0, 2: -1.0}}))
    assert not result.kept and dims(result)["last_rnpc_bias"] == [4]
    bias = next(t for t in onnx.load_from_string(result.data).graph.initializer if t.name == "last_rnpc_bias")
    assert (numpy_helper.to_array(bias) == 3 * TENSORS["w1"][:, 1].sum(axis=(1, 2))).all()


def test_constants_before_padding_are_merged(make: Make, plan_of: PlanOf, same: Same) -> None:
    model = make(PADDED, TENSORS)
    result = same(model, plan_of(model, {"a": {0: 3.0, 2: 2.0, 3: 5.0, 4: -7.0}}))
    assert list(reasons(result)) == [("a", 2)] and "it carries 2 more" in reasons(result)["a", 2]
    assert dims(result)["w1"] == [4, 2, 3, 3]
    w1 = next(numpy_helper.to_array(t) for t in onnx.load_from_string(result.data).graph.initializer if t.name == "w1")
    given = TENSORS["w1"]
    assert (w1[:, 1] == given[:, 2] + 1.5 * given[:, 0] + 2.5 * given[:, 3]).all()


def test_one_constant_before_padding_stays(make: Make, plan_of: PlanOf) -> None:
    model = make(PADDED, TENSORS)
    source, plan = model.SerializeToString(), plan_of(model, {"a": {2: 2.0}})
    result = remove(source, model, plan)
    assert "no other to merge" in reasons(result)["a", 2]
    assert result.data == write_zeros(source, model, plan.sites).data, "nothing went, so nothing was serialized anew"


def test_a_channel_goes_where_all_that_is_added_goes(make: Make, plan_of: PlanOf, same: Same) -> None:
    text = HEAD.format("a = Conv (x, w0) b = Conv (x, w1) last = Add (a, b)")
    model = make(text.replace("(last)", "(s)").replace("last = Add (a, b)", "t = Add (a, b) s = Conv (t, w2)"),
                 {"w0": whole(5, 3, 1, 1), "w1": whole(5, 3, 1, 1), "w2": whole(4, 5, 1, 1), "head": whole(4, 2)})  # fmt: skip
    result = same(model, plan_of(model, {"a": {0: 0.0, 1: 2.0}, "b": {1: 1.0, 3: 0.0}}))
    assert dims(result)["w0"][0] == dims(result)["w1"][0] == dims(result)["w2"][1] == 4
    assert {k: "no constant" in v for k, v in reasons(result).items()} == {("a", 0): True, ("b", 3): True}


def test_shared_tensors_are_cloned(make: Make, plan_of: PlanOf, same: Same) -> None:
    """Both convolutions read one weight; only the channels of one go."""
    text = HEAD.format("a = Conv (x, w0) c = Identity (w0) b = Conv (x, c) u = Conv (a, w1) v = Conv (b, w2) last = Add (u, v)")
    model = make(text, {"w0": whole(5, 3, 1, 1), "w1": whole(4, 5, 1, 1), "w2": whole(4, 5, 1, 1), "head": whole(4, 2)})
    result = same(model, plan_of(model, {"b": {1: 0.0, 2: 0.0}}))
    assert dims(result)["w0"][0] == 5 and dims(result)["w0_rnpc"][0] == 3
    tensors = {"w0": whole(5, 3, 1, 1), "q": whole(5), "w1": whole(4, 5, 1, 1), "w2": whole(4, 5, 1, 1), "head": whole(4, 2)}
    biased = make(text.replace("(x, w0)", "(x, w0, q)").replace("(x, c)", "(x, c, q)"), tensors)
    both = same(biased, plan_of(biased, {"a": {0: 0.0}, "b": {0: 0.0}}))
    assert not both.kept


def test_initializers_that_are_inputs(make: Make, plan_of: PlanOf, same: Same) -> None:
    """Before IR 4 every initializer is a graph input; sizes there follow, and a new bias becomes one too."""
    model = make(CHAIN, TENSORS, ir=3)
    model.graph.input.extend(helper.make_tensor_value_info(t.name, TensorProto.FLOAT, t.dims) for t in model.graph.initializer)
    result = same(model, plan_of(model, {"a": {1: 3.0}}))
    shapes = {v.name: [d.dim_value for d in v.type.tensor_type.shape.dim] for v in onnx.load_from_string(result.data).graph.input}
    assert shapes["w1"] == [4, 4, 3, 3] and shapes["last_rnpc_bias"] == [4]


def test_flatten_takes_all_pixels_of_a_channel(make: Make, plan_of: PlanOf, same: Same) -> None:
    text = "g (float[N,3,2,2] x) => (float[N,2] y) { a = Conv (x, w0, b0) f = Reshape (a, to) y = Gemm (f, head, c) }"
    model = make(text, {"w0": whole(5, 3, 1, 1), "b0": whole(5), "to": np.array([-1, 20]), "head": whole(20, 2), "c": whole(2)})
    result = same(model, plan_of(model, {"a": {1: 3.0, 2: 0.0}}))
    assert dims(result)["head"] == [12, 2] and not result.kept
    stated = next(t for t in onnx.load_from_string(result.data).graph.initializer if t.name == "to")
    assert numpy_helper.to_array(stated).tolist() == [-1, 12]


def test_groups_lose_equally_many(make: Make, plan_of: PlanOf, same: Same) -> None:
    text = HEAD.format("a = Conv (x, w0) last = Conv <group = 2> (a, w1)")
    model = make(text, {"w0": whole(6, 3, 1, 1), "w1": whole(4, 3, 1, 1), "head": whole(4, 2)})
    result = same(model, plan_of(model, {"a": {0: 0.0, 1: 0.0, 5: 0.0}}))
    assert dims(result)["w1"] == [4, 2, 1, 1] and list(reasons(result)) == [("a", 1)]
    assert "equally many" in reasons(result)["a", 1]


def test_depthwise_takes_its_input_along(make: Make, plan_of: PlanOf, same: Same) -> None:
    text = HEAD.format("a = Conv (x, w0) r = Relu (a) d = Conv <group = 5, pads = [1,1,1,1]> (r, w1) last = Conv (d, w2)")
    model = make(text, {"w0": whole(5, 3, 1, 1), "w1": whole(5, 1, 3, 3), "w2": whole(4, 5, 1, 1), "head": whole(4, 2)})
    result = same(model, plan_of(model, {"d": {1: 0.0, 3: 2.0}}))
    assert dims(result)["w0"][0] == dims(result)["w1"][0] == dims(result)["w2"][1] == 3
    node = next(n for n in onnx.load_from_string(result.data).graph.node if n.output[0] == "d")
    assert next(a.i for a in node.attribute if a.name == "group") == 3


def test_a_group_of_a_normalisation_goes_whole(make: Make, plan_of: PlanOf, same: Same) -> None:
    text = HEAD.format("a = Conv (x, w0) n = GroupNormalization <num_groups = 3> (a, scale, shift) last = Conv (n, w1, b1)")
    model = make(
        text,
        {"w0": whole(6, 3, 1, 1), "scale": whole(6), "shift": whole(6), "w1": whole(4, 6, 1, 1), "b1": whole(4), "head": whole(4, 2)},
        opset=21,
    )
    result = same(model, plan_of(model, {"a": {0: 0.0, 2: 0.0, 3: 0.0}}), 1e-5)
    assert dims(result)["scale"] == [4] and list(reasons(result)) == [("a", 0)]


def test_nothing_is_left_empty(make: Make, plan_of: PlanOf, same: Same) -> None:
    """Both channels of a Split's first part are silenced; one stays."""
    text = HEAD.format("a = Conv (x, w0) u, v = Split <axis = 1> (a, sizes) c = Conv (u, w1) d = Conv (v, w2) last = Add (c, d)")
    tensors = {"w0": whole(5, 3, 1, 1), "sizes": np.array([2, 3]), "w1": whole(4, 2, 1, 1), "w2": whole(4, 3, 1, 1), "head": whole(4, 2)}
    model = make(text, tensors)
    result = same(model, plan_of(model, {"a": {0: 0.0, 1: 0.0, 4: 0.0}}))
    assert dims(result)["w1"] == [4, 1, 1, 1] and dims(result)["w2"] == [4, 2, 1, 1]
    assert "without a channel" in reasons(result)["a", 0]


def test_open_sizes_and_nodes_in_any_order(make: Make, plan_of: PlanOf) -> None:
    """The batch and the image may have any size; nodes may stand in any order."""
    model = make(PADDED.replace("float[N,3,6,6]", "float[N,3,H,W]"), TENSORS)
    first = model.graph.node[0].SerializeToString()
    del model.graph.node[0]
    model.graph.node.append(onnx.NodeProto.FromString(first))
    source = model.SerializeToString()
    result = remove(source, model, plan_of(model, {"a": {1: 0.0}}))
    assert dims(result)["w1"] == [4, 4, 3, 3]


def test_what_a_branch_reads_stays(make: Make, plan_of: PlanOf, same: Same) -> None:
    text = HEAD.format("a = Conv (x, w0) i = If <then_branch = t () => (float[N,4,6,6] z) { z = Conv (a, w1) }, "
                       "else_branch = e () => (float[N,4,6,6] z) { z = Conv (a, w1) }> (yes) last = Relu (i)")  # fmt: skip
    model = make(text, {"w0": whole(5, 3, 1, 1), "w1": whole(4, 5, 1, 1), "yes": np.array(True), "head": whole(4, 2)})
    result = same(model, plan_of(model, {"a": {1: 0.0}}))
    assert "output of the branch" in reasons(result)["a", 1]


def test_stated_shapes_follow(make: Make, plan_of: PlanOf, same: Same) -> None:
    model = onnx.shape_inference.infer_shapes(make(PADDED, TENSORS))
    result = same(model, plan_of(model, {"a": {1: 0.0}}))
    stated = {v.name: [d.dim_value for d in v.type.tensor_type.shape.dim] for v in onnx.load_from_string(result.data).graph.value_info}
    assert stated["a"] == stated["r"] == [0, 4, 6, 6]


@pytest.mark.parametrize("kind", [np.float16, np.float64])
def test_other_types(kind: type, make: Make, plan_of: PlanOf, run: Callable[..., dict[str, np.ndarray]]) -> None:
    """Constants are rounded to the type before they are folded."""
    model = make(CHAIN, TENSORS)
    for tensor in model.graph.initializer:
        tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor).astype(kind), tensor.name))
    for value in (model.graph.input[0], model.graph.output[0]):
        value.type.tensor_type.elem_type = helper.np_dtype_to_tensor_dtype(np.dtype(kind))
    source, plan = model.SerializeToString(), plan_of(model, {"a": {1: 0.1, 2: 0.0}})
    result = remove(source, model, plan)
    bias = next(numpy_helper.to_array(t) for t in onnx.load_from_string(result.data).graph.initializer if t.name == "last_rnpc_bias")
    exact = float(np.float32(0.1).astype(kind)) * TENSORS["w1"][:, 1].sum(axis=(1, 2)).astype(np.float64)
    assert bias.dtype == kind and (bias == exact.astype(kind)).all()


def test_quantised_weights_behind(make: Make, plan_of: PlanOf, same: Same) -> None:
    """int8 weights with a scale for each input: weights, scales and zero points are cut together."""
    text = HEAD.format("a = Conv (x, w0) d = DequantizeLinear <axis = 1> (q, s, z) last = Conv (a, d)")
    tensors = {"w0": whole(5, 3, 1, 1), "q": whole(4, 5, 1, 1).astype(np.int8), "s": np.full(5, 0.5, np.float32), "z": np.zeros(5, np.int8)}
    model = make(text, {**tensors, "head": whole(4, 2)}, opset=21, ir=10)
    result = same(model, plan_of(model, {"a": {1: 0.0, 2: 0.0}}))
    assert dims(result)["q"] == [4, 3, 1, 1] and dims(result)["s"] == dims(result)["z"] == [3]


def test_plans_that_do_not_fit(make: Make) -> None:
    model = make(CHAIN, TENSORS)
    bad: list[Any] = [SitePlan("no", "conv", (0,), ("00000000",)), SitePlan("a", "conv", (9,), ("00000000",))]
    for site in bad:
        with pytest.raises(InputRefused):
            remove(model.SerializeToString(), model, Silence((site,), "remove"))
