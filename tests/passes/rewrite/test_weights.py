"""Retrained tensors: just the named bytes change, and only by the values whose digests the plan holds."""

from __future__ import annotations

from dataclasses import replace

import ml_dtypes
import numpy as np
import onnx
import pytest
from onnx import ModelProto, TensorProto, helper, numpy_helper

from rnpc.errors import InputRefused
from rnpc.passes.rewrite import weights
from rnpc.passes.wire import walk as wire
from rnpc.plan import Weights

Tensors = dict[str, np.ndarray]


def stored(data: bytes) -> Tensors:
    return {t.name: numpy_helper.to_array(t) for t in onnx.load_from_string(data).graph.initializer}


@pytest.fixture
def new(net: ModelProto) -> Tensors:
    return {n: stored(net.SerializeToString())[n] * np.float32(2) for n in ("w1", "shift")}


def test_named_tensors_and_nothing_else(net: ModelProto, new: Tensors) -> None:
    data = net.SerializeToString() + wire.block(4000, b"unknown")
    edit = weights.declare(data, new)
    done, edits = weights.replace(data, edit, new)
    assert [entry.tensor for entry in edit.tensors] == ["shift", "w1"]
    assert [(e["kind"], e["tensor"]) for e in edits] == [("replace", "shift"), ("replace", "w1")]
    before, after = stored(data), stored(done)
    for name, array in before.items():
        assert after[name].tobytes() == new.get(name, array).tobytes()
    back, _ = weights.replace(done, weights.declare(done, {n: before[n] for n in new}), {n: before[n] for n in new})
    assert back == data and len(done) == len(data)


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.float16, ml_dtypes.bfloat16, np.int8, np.int64])
@pytest.mark.parametrize("way", ["raw", "numbers"])
def test_every_way_to_store(way: str, dtype: type) -> None:
    array = np.array([[1, 2, 3], [4, 5, 6]]).astype(dtype)
    kind = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    numbers = helper.make_tensor("t", kind, array.shape, array.astype(np.float64).ravel().tolist())
    tensor = numpy_helper.from_array(array, "t") if way == "raw" else numbers
    data = helper.make_model(helper.make_graph([], "g", [], [], [tensor])).SerializeToString()
    new = {"t": (array * 3).astype(dtype)}
    done, edits = weights.replace(data, weights.declare(data, new), new)
    assert stored(done)["t"].tobytes() == new["t"].tobytes() and stored(done)["t"].dtype == new["t"].dtype
    moved = way == "numbers" and dtype not in (np.float32, np.float64)
    assert [e["kind"] for e in edits] == (["repack", "replace"] if moved else ["replace"])


def test_what_does_not_fit(net: ModelProto, new: Tensors) -> None:
    data = net.SerializeToString()
    edit = weights.declare(data, new)
    first = edit.tensors[0]
    cases: list[tuple[Weights, Tensors, str]] = [
        (Weights((first, first)), new, "listed twice"),
        (edit, {}, "whose new values are not given"),
        (edit, {**new, "b0": new["shift"]}, "b0 is not one that the plan replaces"),
        (edit, {**new, "shift": new["shift"][:-1]}, r"is float32 \[6\], its new values are float32 \[5\]"),
        (edit, {**new, "shift": new["shift"].astype(np.float64)}, "new values are float64"),
        (edit, {**new, "shift": -new["shift"]}, "not those of the plan"),
        (Weights((replace(first, before="0" * 64),)), {"shift": new["shift"]}, "not the one that was retrained"),
        (Weights((replace(first, tensor="no"),)), {"no": new["shift"]}, "stored nowhere"),
    ]
    for bad, tensors, match in cases:
        with pytest.raises(InputRefused, match=match) as error:
            weights.replace(data, bad, tensors)
        assert "\n" not in str(error.value)


def test_types_and_tensors_that_cannot_be_replaced() -> None:
    text = helper.make_tensor("t", TensorProto.STRING, [1], [b"a"])
    outside = TensorProto(name="t", data_type=1, dims=[1], data_location=TensorProto.EXTERNAL)
    short = TensorProto(name="t", data_type=1, dims=[2], raw_data=bytes(4))
    for tensor, match in ((text, "of type STRING"), (outside, "lies in another file"), (short, "cannot be read")):
        data = helper.make_model(helper.make_graph([], "g", [], [], [tensor])).SerializeToString()
        with pytest.raises(InputRefused, match=match):
            weights.declare(data, {"t": np.zeros(1, np.float32)})
