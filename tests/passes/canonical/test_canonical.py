"""One network is one studied network, however it was written; and the files that showed the faults."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from rnpc.passes.canonical.canonical import canonical, kept, rewritten
from rnpc.passes.facts.head import find_head
from rnpc.passes.facts.intake import check
from rnpc.passes.facts.sites import find_sites

Make = Callable[..., ModelProto]
Run = Callable[..., dict[str, np.ndarray]]
X = np.random.default_rng(7).normal(size=(4, 3, 6, 6)).astype(np.float32)
SHARED = Path(__file__).parents[4] / "shared"


def values(model: ModelProto) -> dict[str, bytes]:
    return {tensor.name: numpy_helper.to_array(tensor).tobytes() for tensor in model.graph.initializer}


def ops(model: ModelProto) -> list[str]:
    return [node.op_type for node in model.graph.node]


def copied(net: ModelProto) -> ModelProto:
    copy = ModelProto()
    copy.CopyFrom(net)
    return copy


def shuffled(net: ModelProto) -> ModelProto:
    nodes = [NodeProto.FromString(node.SerializeToString()) for node in net.graph.node][::-1]
    del net.graph.node[:]
    net.graph.node.extend(nodes)
    return net


def as_constants(net: ModelProto) -> ModelProto:
    for tensor in net.graph.initializer:
        net.graph.node.insert(0, helper.make_node("Constant", [], [tensor.name], value=tensor))
    del net.graph.initializer[:]
    return net


def behind_identity(net: ModelProto) -> ModelProto:
    for name, place in (("w0", 0), ("w3", 9)):
        net.graph.node[place].input[1] = f"{name}_again"
    for name in ("w0", "w3"):
        net.graph.node.insert(0, helper.make_node("Identity", [name], [f"{name}_again"]))
    return net


def with_dropout(net: ModelProto) -> ModelProto:
    net.graph.node[9].input[0] = "dropped"
    net.graph.node.insert(9, helper.make_node("Dropout", ["k"], ["dropped"]))
    return net


def as_inputs(net: ModelProto) -> ModelProto:
    net.graph.input.extend(helper.make_tensor_value_info(t.name, t.data_type, list(t.dims)) for t in net.graph.initializer)
    return net


@pytest.mark.parametrize("change", [shuffled, as_constants, behind_identity, with_dropout, as_inputs])
def test_other_ways_to_write_it(change: Callable[[ModelProto], ModelProto], net: ModelProto) -> None:
    wanted = canonical(net)
    model = change(copied(net))
    before = model.SerializeToString(deterministic=True)
    found = canonical(model)
    assert model.SerializeToString(deterministic=True) == before
    assert values(found) == values(wanted) and ops(found) == ops(wanted)
    assert [list(node.output) for node in found.graph.node] == [list(node.output) for node in wanted.graph.node]
    assert [s.value for s in find_sites(found)] == [s.value for s in find_sites(model)] == ["a", "n", "h"]


def test_kept_keeps_the_norm_and_folding_it_gives_the_same(net: ModelProto, run: Run) -> None:
    plain = kept(net)
    assert "BatchNormalization" in ops(plain) and "BatchNormalization" not in ops(canonical(net))
    assert values(canonical(plain)) == values(canonical(net))
    assert [s.value for s in find_sites(plain)] == [s.value for s in find_sites(net)]
    np.testing.assert_allclose(run(canonical(net), X, ["y"])["y"], run(plain, X, ["y"])["y"], rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(run(plain, X, ["y"])["y"], run(net, X, ["y"])["y"])


def test_norms_behind_norms_are_folded(make: Make, random: Callable[..., np.ndarray], run: Run) -> None:
    text = """g (float[N,3,6,6] x) => (float[N,4] y) { c = Conv (x, w) n = BatchNormalization (c, s, b, m, v)
        o = BatchNormalization (n, s, b, m, v) p = GlobalAveragePool (o) f = Flatten (p) y = Gemm (f, u) }"""
    model = make(text, {"w": random(4, 3, 1, 1), "s": random(4), "b": random(4), "m": random(4), "v": np.abs(random(4)), "u": random(4, 4)})
    assert ops(canonical(model)) == ["Conv", "GlobalAveragePool", "Flatten", "Gemm"]
    np.testing.assert_allclose(run(canonical(model), X, ["y"])["y"], run(model, X, ["y"])["y"], rtol=1e-4, atol=1e-4)


def test_every_pass_keeps_its_word(net: ModelProto, run: Run) -> None:
    def compare(one: ModelProto, two: ModelProto) -> float:
        a, b = (run(model, X, ["y"])["y"] for model in (one, two))
        return float(np.abs(a - b).max() / np.abs(a).max())

    for change in (shuffled, as_constants, behind_identity, with_dropout):
        rewritten(change(copied(net)), compare=compare)


def test_half_precision_as_onnxruntime_converts(net: ModelProto, run: Run) -> None:
    half = copied(net)
    for tensor in half.graph.initializer:
        tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor).astype(np.float16), tensor.name))
    half.graph.node[0].input[0], half.graph.node[-1].output[0] = "x_half", "y_half"
    half.graph.node.insert(0, helper.make_node("Cast", ["y_half"], ["y"], to=TensorProto.FLOAT))
    half.graph.node.append(helper.make_node("Cast", ["x"], ["x_half"], to=TensorProto.FLOAT16))
    found = canonical(half)
    assert found.graph.output[0].name == "y_half" and found.graph.output[0].type.tensor_type.elem_type == TensorProto.FLOAT16
    assert [s.value for s in find_sites(found)] == [s.value for s in find_sites(net)] == [s.value for s in find_sites(half)]


FAULTS = {
    "unsorted-fp16/model.onnx": 16,
    "sparse-crash/model.onnx": 16,
    "matmul-crash/model.onnx": 3,
    "matmul-crash/gtsrb-matmul.onnx": 16,
    "mlp-crash/sk_mnist_clean.onnx": 3,
    "two-classes-next/ch_ppocr_mobile_v2.0_cls_infer.onnx": 53,
}


@pytest.mark.parametrize("name", FAULTS)
def test_files_that_showed_faults(name: str) -> None:
    path = SHARED / "faults" / name
    if not path.is_file() and os.environ.get("CI") != "true":
        pytest.skip("the shared folder is not here")
    model = onnx.load(path)
    check(model, name)
    found = canonical(model)
    head, sites = find_head(found), find_sites(found)
    assert len(sites) == FAULTS[name] and all(site.axis == 1 for site in sites)
    assert head is not None and found.graph.node[-1].op_type in ("Gemm", "Add")


def test_the_same_file_with_and_without_softmax() -> None:
    folder = SHARED / "faults" / "softmax-hides-backdoor"
    if not folder.is_dir() and os.environ.get("CI") != "true":
        pytest.skip("the shared folder is not here")
    one, two = (canonical(onnx.load(folder / f"dd_mnist_trigger_pattern_all_to_one{end}.onnx")) for end in ("", "_logits"))
    assert values(one) == values(two) and ops(one) == ops(two)
