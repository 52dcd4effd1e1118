"""dequantised: what quantised operators become gives what onnxruntime gives, under the names that were there."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import ModelProto, helper, numpy_helper

from rnpc.errors import UnsupportedOperator
from rnpc.passes.canonical.qforms import quantised
from rnpc.passes.canonical.quantised import dequantised

MS = "com.microsoft"
SCALES = {"s": 0.02, "z": 120, "ws": 0.01, "wz": 3, "t": 0.0437, "tz": 100}
UINT8 = ("z", "tz")


def model(
    nodes: list[onnx.NodeProto], *, tensors: dict[str, np.ndarray] | None = None, shape: tuple[object, ...] = ("n", 4, 6, 6)
) -> ModelProto:
    """x -> Q -> nodes (which read `q` and make `r`) -> DQ -> y; scales and zero points of `SCALES` are stored."""
    first = helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q"], name="first")
    last = helper.make_node("DequantizeLinear", ["r", "t", "tz"], ["y"], name="last")
    stored = {k: np.array(v, np.uint8 if k in UINT8 else np.int8 if k == "wz" else np.float32) for k, v in SCALES.items()} | (tensors or {})
    infos = [helper.make_tensor_value_info("x", 1, shape)], [helper.make_tensor_value_info("y", 1, None)]
    initializers = [numpy_helper.from_array(v, k) for k, v in stored.items()]
    graph = helper.make_graph([first, *nodes, last], "g", *infos, initializers)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17), helper.make_opsetid(MS, 1)], ir_version=8)


def run(proto: ModelProto, x: np.ndarray) -> np.ndarray:
    options = ort.SessionOptions()
    options.log_severity_level, options.intra_op_num_threads = 4, 1
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    return np.asarray(ort.InferenceSession(proto.SerializeToString(), options).run(None, {"x": x})[0])


def check(proto: ModelProto, *, shape: tuple[int, ...] = (3, 4, 6, 6), steps: float = 1.0) -> ModelProto:
    """Equal but for values on an edge between two codes; returns the rewritten model."""
    x = np.random.default_rng(0).uniform(-3, 3, shape).astype(np.float32)
    before = proto.SerializeToString()
    made = dequantised(proto)
    assert proto.SerializeToString() == before
    kinds = {node.op_type for node in made.graph.node}
    assert not any(kind.startswith("QLinear") or kind in ("QGemm", "ConvInteger", "MatMulInteger") for kind in kinds)
    wanted, found = run(proto, x), run(made, x)
    assert np.unique(wanted).size > 5
    assert np.abs(wanted - found).max() <= steps * SCALES["t"] + 1e-6
    assert (wanted != found).mean() <= 0.005
    return made


def ints(*shape: int, seed: int = 1, kind: type = np.int8) -> np.ndarray:
    reach = np.iinfo(kind)
    return np.random.default_rng(seed).integers(reach.min // 2, reach.max // 2 + 1, shape).astype(kind)


def test_convolution_by_filter() -> None:
    node = helper.make_node(
        "QLinearConv", ["q", "s", "z", "w", "wss", "wzs", "t", "tz", "b"], ["r"], "conv", pads=[1, 1, 1, 1], strides=[2, 2]
    )
    scales = np.random.default_rng(2).uniform(0.002, 0.01, 5).astype(np.float32)
    bias = np.arange(5, dtype=np.int32) * 100
    made = check(model([node], tensors={"w": ints(5, 4, 3, 3), "wss": scales, "wzs": np.zeros(5, np.int8), "b": bias}))
    conv = next(n for n in made.graph.node if n.op_type == "Conv")
    assert conv.output[0] == "r" and conv.name == "conv"
    weight = numpy_helper.to_array(next(t for t in made.graph.initializer if t.name == conv.input[1]))
    np.testing.assert_array_equal(weight, ints(5, 4, 3, 3) * scales.reshape(5, 1, 1, 1))


@pytest.mark.parametrize("kind", ["QLinearAdd", "QLinearMul"])
def test_sums_and_products(kind: str) -> None:
    check(model([helper.make_node(kind, ["q", "s", "z", "q", "t", "z", "t", "tz"], ["r"], domain=MS)]))


@pytest.mark.parametrize(
    ("kind", "settings"),
    [
        ("QLinearSigmoid", {}),
        ("QLinearLeakyRelu", {"alpha": 0.1}),
        ("QLinearGlobalAveragePool", {"channels_last": 0}),
        ("QLinearAveragePool", {"kernel_shape": [2, 2], "strides": [2, 2]}),
        ("QLinearSoftmax", {"axis": 1, "opset": 17}),
    ],
)
def test_operators_of_one_value(kind: str, settings: dict[str, object]) -> None:
    scale = {"t": np.float32(1 / 256), "tz": np.uint8(0)} if kind in ("QLinearSigmoid", "QLinearSoftmax") else {}
    node = helper.make_node(kind, ["q", "s", "z", "t", "tz"], ["r"], domain=MS, **settings)
    check(model([node], tensors={k: np.array(v) for k, v in scale.items()}))


def test_concat_and_pooling_of_codes() -> None:
    nodes = [
        helper.make_node("QLinearConcat", ["t", "tz", "q", "s", "z", "q", "ws", "z"], ["c"], domain=MS, axis=1),
        helper.make_node("MaxPool", ["c"], ["r"], kernel_shape=[2, 2], strides=[2, 2]),
    ]
    made = check(model(nodes))
    assert next(n for n in made.graph.node if n.op_type == "MaxPool").input[0] == "c:codes"


@pytest.mark.parametrize("transposed", [0, 1])
def test_dense_by_unit(transposed: int) -> None:
    scales = np.random.default_rng(3).uniform(0.002, 0.01, 5).astype(np.float32)
    weight, zeros = ints(*((5, 4) if transposed else (4, 5))), np.zeros(5, np.int8)
    gemm = ["q", "s", "z", "w", "wss", "wzs", "b", "t", "tz"]
    tensors = {"w": weight, "wss": scales, "wzs": zeros, "b": np.arange(5, dtype=np.int32) * 50}
    node = helper.make_node("QGemm", gemm, ["r"], domain=MS, transB=transposed, alpha=1.0)
    check(model([node], tensors=tensors, shape=("n", 4)), shape=(40, 4))


def test_product_of_stored_codes() -> None:
    node = helper.make_node("QLinearMatMul", ["q", "s", "z", "w", "ws", "wz", "t", "tz"], ["r"])
    check(model([node], tensors={"w": ints(4, 5)}, shape=("n", 4)), shape=(40, 4))


def dynamic(kind: str, weight: np.ndarray, shape: tuple[object, ...], extra: bool = False) -> ModelProto:
    """The chain as onnxruntime's dynamic quantiser writes it; `extra`: the codes have a second reader, so that nothing can be merged."""
    nodes = [
        helper.make_node("DynamicQuantizeLinear", ["x"], ["xq", "xs", "xz"]),
        helper.make_node("Mul", ["xs", "ws"], ["scale"]),
        helper.make_node(kind, ["xq", "w", "xz", "wz"], ["sum"], name="layer"),
        helper.make_node("Cast", ["sum"], ["float"], to=1),
        helper.make_node("Mul", ["float", "scale"], ["value"]),
        helper.make_node("Add", ["value", "b"], ["y"]),
    ]
    if extra:
        nodes[-1] = helper.make_node("Cast", ["sum"], ["again"], to=1)
        nodes.append(helper.make_node("Add", ["value", "again"], ["y"]))
    proto = model([], tensors={"w": weight, "b": np.ones(1, np.float32)}, shape=shape)
    del proto.graph.node[:]
    proto.graph.node.extend(nodes)
    return proto


@pytest.mark.parametrize("extra", [False, True])
@pytest.mark.parametrize(
    ("kind", "weight", "shape"), [("ConvInteger", ints(5, 4, 3, 3), (3, 4, 6, 6)), ("MatMulInteger", ints(4, 5), (30, 4))]
)
def test_dynamic_chain(kind: str, weight: np.ndarray, shape: tuple[int, ...], extra: bool) -> None:
    proto = dynamic(kind, weight, ("n", *shape[1:]), extra)
    made = dequantised(proto)
    x = np.random.default_rng(0).uniform(-3, 3, shape).astype(np.float32)
    wanted, found = run(proto, x), run(made, x)
    assert np.abs(wanted - found).max() <= 1e-5 * np.abs(wanted).max()
    layer = next(n for n in made.graph.node if n.name == "layer")
    assert layer.output[0] == ("sum" if extra else "value")
    assert ("Mul" in {n.op_type for n in made.graph.node if "float" in n.input}) == extra


def test_stored_weights_are_worked_out() -> None:
    nodes = [
        helper.make_node("QuantizeLinear", ["w", "ws", "wz"], ["wq"]),
        helper.make_node("DequantizeLinear", ["wq", "ws", "wz"], ["wr"]),
        helper.make_node("DequantizeLinear", ["q", "s", "z"], ["xr"]),
        helper.make_node("Conv", ["xr", "wr"], ["sum"]),
        helper.make_node("QuantizeLinear", ["sum", "t", "tz"], ["r"]),
    ]
    weight = np.random.default_rng(0).standard_normal((5, 4, 3, 3)).astype(np.float32)
    made = check(model(nodes, tensors={"w": weight}))
    assert [n.op_type for n in made.graph.node] == ["QuantizeLinear", "DequantizeLinear", "Conv", "QuantizeLinear", "DequantizeLinear"]
    assert {t.name for t in made.graph.initializer} == {"s", "z", "t", "tz", "wr"}


def test_what_is_not_quantised_is_the_same_object() -> None:
    graph = onnx.parser.parse_model('<ir_version: 8, opset_import: ["" : 17]> g (float[n, 2] x) => (float[n, 2] y) { y = Relu (x) }')
    assert not quantised(graph) and dequantised(graph) is graph


def test_other_forms_are_refused_with_their_nodes() -> None:
    nodes = [
        helper.make_node("QLinearAveragePool", ["q", "s", "z", "t", "tz"], ["a"], "pool", domain=MS, kernel_shape=[2, 2], channels_last=1),
        helper.make_node("QLinearSigmoid", ["a", "s", "z", "t"], ["r"], "gate", domain=MS),
    ]
    with pytest.raises(UnsupportedOperator, match=r"QLinearAveragePool with channels last .*pool.*QLinearSigmoid without a zero point"):
        dequantised(model(nodes))


def test_a_stranger_of_the_same_name_is_left_alone() -> None:
    node = helper.make_node("QLinearAdd", ["x", "x"], ["y"], domain="my.domain")
    graph = helper.make_graph([node], "g", [helper.make_tensor_value_info("x", 1, [1])], [helper.make_tensor_value_info("y", 1, [1])])
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17), helper.make_opsetid("my.domain", 1)])
    assert dequantised(proto) is proto
