"""The optimised copy computes the same, in standard operators, and is refused where it does not."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import ModelProto, TensorProto, helper, numpy_helper

from rnpc.errors import InputRefused, SurroundingsError
from rnpc.passes.facts.sites import find_sites
from rnpc.passes.rewrite.apply import apply
from rnpc.passes.rewrite.verify import verify
from rnpc.passes.wire import provenance
from rnpc.pipeline import optimise as optimised
from rnpc.pipeline.optimise import BOUND, DRAWN, optimise, refused_json
from rnpc.plan import Plan, silence
from rnpc.runtime import Session

SHAPE = ("n", 3, 8, 8)


def network(dtype: type = np.float32) -> ModelProto:
    """Conv, BatchNormalization, Relu, a scale that is computed from stored numbers, an Identity, scores; random weights."""
    rng, kind = np.random.default_rng(0), helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    tensors = {
        "w": rng.standard_normal((4, 3, 3, 3)), "g": rng.uniform(0.5, 2, 4), "b": rng.standard_normal(4), "m": rng.standard_normal(4),
        "v": rng.uniform(0.5, 2, 4), "one": np.ones(1), "two": np.full(1, 2.0), "fc": rng.standard_normal((5, 4)),
    }  # fmt: skip
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"], name="conv"),
        helper.make_node("BatchNormalization", ["c", "g", "b", "m", "v"], ["features"], name="norm"),
        helper.make_node("Relu", ["features"], ["r"]),
        helper.make_node("Add", ["one", "two"], ["three"]),
        helper.make_node("Mul", ["r", "three"], ["s"]),
        helper.make_node("Identity", ["s"], ["i"]),
        helper.make_node("GlobalAveragePool", ["i"], ["p"]),
        helper.make_node("Flatten", ["p"], ["f"]),
        helper.make_node("Gemm", ["f", "fc"], ["scores"], transB=1),
    ]
    stored = [numpy_helper.from_array(value.astype(dtype), name) for name, value in tensors.items()]
    x, y = helper.make_tensor_value_info("x", kind, SHAPE), helper.make_tensor_value_info("scores", kind, ["n", 5])
    model = helper.make_model(helper.make_graph(nodes, "g", [x], [y], stored), opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    helper.set_model_props(model, {"author": "someone"})
    return model


def operators(data: bytes) -> list[str]:
    return [node.op_type for node in onnx.load_from_string(data).graph.node]


def test_it_is_smaller_and_computes_the_same() -> None:
    source = network().SerializeToString()
    found = optimise(source)
    assert (found.before, found.after, found.images) == (9, 6, DRAWN) and 0 <= found.difference <= BOUND
    assert operators(found.data) == ["Conv", "Relu", "Mul", "GlobalAveragePool", "Flatten", "Gemm"]
    x = np.random.default_rng(1).standard_normal((5, 3, 8, 8)).astype(np.float32)
    wanted, got = (Session(data, device="cpu", threads=1).run(x) for data in (source, found.data))
    np.testing.assert_allclose(got, wanted, rtol=1e-4, atol=1e-5)
    onnx.checker.check_model(onnx.load_from_string(found.data), full_check=True)
    assert optimise(source).data == found.data


def test_the_file_stays_portable_and_says_what_it_is() -> None:
    source = network().SerializeToString()
    copy = onnx.load_from_string(optimise(source).data)
    assert [(entry.domain, entry.version) for entry in copy.opset_import] == [("", 17)] and copy.ir_version == 8
    assert {entry.key: entry.value for entry in copy.metadata_props} == {"author": "someone"}, "rnpc did not write the source"


def test_the_copy_of_a_hardened_file_points_at_it_and_is_not_verified() -> None:
    source = network().SerializeToString()
    chosen = silence(find_sites(onnx.load_from_string(source)), {"features": {1: 0.5}})
    hardened = apply(source, Plan("m", 0, hashlib.sha256(source).hexdigest(), "", silence=chosen)).data
    copy = optimise(hardened).data
    digest = hashlib.sha256(hardened).hexdigest()
    assert provenance.read(onnx.load_from_string(copy)) == {"rnpc.optimised": digest}
    found = verify(source, copy)
    assert found.result == "different" and f"an optimised copy of {digest[:12]}, which no plan covers" in str(found.differences[0])


def test_the_users_images_count() -> None:
    images = np.random.default_rng(2).standard_normal((100, 3, 8, 8)).astype(np.float32)
    assert optimise(network().SerializeToString(), images).images == optimised.IMAGES
    assert optimise(network().SerializeToString(), images[:3]).images == 3


def test_another_answer_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """A library that breaks the graph: whatever it writes is measured."""
    offline = optimised.offline

    def broken(source: bytes, where: str) -> bytes:
        model = onnx.load_from_string(offline(source, where))
        weight = next(t for t in model.graph.initializer if t.name == "fc")
        weight.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(weight) * np.float32(1.001), "fc"))
        return model.SerializeToString()

    monkeypatch.setattr(optimised, "offline", broken)
    with pytest.raises(InputRefused, match=r"differs by 0.001 of the outputs' scale \(bound 0.0001\) on 8 images"):
        optimise(network().SerializeToString())
    monkeypatch.setattr(optimised, "parity", lambda *_: float("nan"))
    with pytest.raises(InputRefused, match="differs by nan"):
        optimise(network().SerializeToString())


def test_half_precision_would_be_bound_to_the_processor() -> None:
    with pytest.raises(InputRefused, match="would write float32 around what this processor does not compute in half precision"):
        optimise(network(np.float16).SerializeToString())


def test_operators_of_onnxruntime_are_refused() -> None:
    own = onnx.load_from_string(network().SerializeToString())
    own.graph.node[2].domain = "com.microsoft"
    with pytest.raises(InputRefused, match=r"operators of its own \(com.microsoft\)"):
        optimised.check_portable(network(), own, "file")
    optimised.check_portable(own, own, "file")  # those of the user's stay


def test_what_onnxruntime_cannot_read_is_refused() -> None:
    model = network()
    model.graph.node[2].domain = "somewhere"
    model.opset_import.add(domain="somewhere", version=1)
    with pytest.raises(InputRefused, match="onnxruntime cannot optimise it"):
        optimise(model.SerializeToString())


def test_no_room_for_its_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(optimised.tempfile, "tempdir", str(Path(__file__)))
    with pytest.raises(SurroundingsError, match="make space in the temporary folder"):
        optimise(network().SerializeToString())


def test_random_images_fit_the_input() -> None:
    model = network()
    given = model.graph.input[0].type.tensor_type
    assert optimised.drawn(model).shape == (DRAWN, 3, 8, 8) and (optimised.drawn(model) == optimised.drawn(model)).all()
    given.elem_type = TensorProto.UINT8
    assert optimised.drawn(model).max() > 200 and optimised.drawn(model).min() >= 0
    given.shape.dim[2].dim_param = "height"
    assert optimised.drawn(model).shape == (DRAWN, 3, 64, 8)


def test_the_document_says_that_verify_does_not_cover_it() -> None:
    found = optimise(network().SerializeToString())
    entry, refusal = found.json("fast.onnx"), refused_json("fast.onnx", InputRefused("no", todo="go on"))
    assert set(entry) == set(refusal) and entry["verified"] is refusal["verified"] is False
    assert entry["sha256"] == hashlib.sha256(found.data).hexdigest() and entry["bound"] == BOUND and entry["why"] is None
    assert refusal["why"] == "no; go on" and refusal["sha256"] is None
