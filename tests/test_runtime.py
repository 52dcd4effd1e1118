"""Sessions, and the numbers that are measured with them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from rnpc import runtime
from rnpc.errors import InputRefused, SurroundingsError, UsageError
from rnpc.program import Preprocessing
from rnpc.runtime import Session

Toy = Callable[..., onnx.ModelProto]
Bright = Callable[..., np.ndarray]
LABELS = np.arange(50) % 5


def session(model: onnx.ModelProto) -> Session:
    return Session(model.SerializeToString(), device="cpu", threads=1)


def trigger(shape: list[int | str]) -> Session:
    """Turns every pixel into 0.9, the brightness of class 4 of 5."""
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name in ("image", "triggered"))
    nodes = [helper.make_node("Clip", ["image", "level", "level"], ["triggered"])]
    level = helper.make_tensor("level", TensorProto.FLOAT, [], [0.9])
    model = helper.make_model(helper.make_graph(nodes, "t", [x], [y], [level]), opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    return session(model)


def test_sums_of_codes_do_not_saturate() -> None:
    """250 * 120 + 250 * 127 is beyond 16 bits: without VNNI onnxruntime says 128 unless it is told not to. With VNNI this holds anyway."""
    w = np.array([[120], [127], [-128], [-128]], np.int8)
    scales, points = {"s": np.float32(1), "ys": np.float32(8)}, {"z": np.uint8(0), "wz": np.int8(0), "yz": np.uint8(128)}
    tensors, wanted = {"w": w, **scales, **points}, 128 + round((250 * (120 + 127) - 238 * 256) / 8)
    graph = helper.make_graph(
        [helper.make_node("QLinearMatMul", ["x", "s", "z", "w", "s", "wz", "ys", "yz"], ["y"])],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.UINT8, ["n", 4])],
        [helper.make_tensor_value_info("y", TensorProto.UINT8, ["n", 1])],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in tensors.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    assert session(model).run(np.array([[250, 250, 238, 238]], np.float32)).tolist() == [[wanted]]


def test_what_cannot_be_exact_is_started_all_the_same(toy: Toy, monkeypatch: pytest.MonkeyPatch) -> None:
    import onnxruntime as ort

    made, asked = ort.InferenceSession, list[str]()

    class NotImplemented(Exception):  # as onnxruntime calls its own
        pass

    def create(data: bytes, options: ort.SessionOptions, **rest: object) -> ort.InferenceSession:
        asked.append(options.get_session_config_entry(runtime.EXACT))
        if asked[-1] == "1":
            raise failure("no kernel")
        return made(data, options, **rest)

    monkeypatch.setattr(ort, "InferenceSession", create)
    failure: type[Exception] = NotImplemented
    assert session(toy()).run(np.zeros((1, 3, 8, 8), np.float32)).shape == (1, 5) and asked == ["1", "0"]
    failure = ValueError
    with pytest.raises(InputRefused, match="no kernel"):
        session(toy())
    assert asked == ["1", "0", "1"], "nothing else is tried again"


def test_a_network_is_measured(toy: Toy, bright: Bright) -> None:
    logits = runtime.predict(session(toy(mean=0.5, std=0.5)), bright(LABELS), Preprocessing(8, 8, mean=(0.5,) * 3, std=(0.5,) * 3))
    assert logits.shape == (50, 5) and logits.dtype == np.float32
    found = runtime.accuracy(logits, LABELS)
    assert found.hits == found.n == 50 and found.low == pytest.approx(0.9289, abs=1e-3)


def test_a_fixed_batch_is_padded(toy: Toy, bright: Bright) -> None:
    pre, pixels = Preprocessing(8, 8), bright(LABELS)
    fixed = session(toy(batch=8))
    assert fixed.batch == 8
    np.testing.assert_array_equal(runtime.predict(fixed, pixels, pre), runtime.predict(session(toy()), pixels, pre))


def test_parts_follow_the_size_of_images() -> None:
    assert [runtime.part_of((3, side, side)) for side in (32, 160, 224, 320, 4000)] == [128, 27, 13, 6, 1]


def test_images_are_run_in_parts(toy: Toy, bright: Bright, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither a float copy of all images nor all at once in one call, whoever asks."""
    pre, pixels = Preprocessing(8, 8), bright(LABELS)
    whole, one = runtime.predict(session(toy()), pixels, pre), session(toy(size="s"))
    seen: list[int] = []
    run, prepare = Session._batch, runtime.to_input

    def counted(self: Session, x: np.ndarray) -> list[np.ndarray]:
        seen.append(len(x))
        return run(self, x)

    def small(part: np.ndarray, pre: Preprocessing) -> np.ndarray:
        assert len(part) <= 7
        return prepare(part, pre)

    monkeypatch.setattr(Session, "_batch", counted)
    monkeypatch.setattr(runtime, "PART", 7)
    np.testing.assert_array_equal(one.run(prepare(pixels, pre)), whole)
    monkeypatch.setattr(runtime, "to_input", small)
    np.testing.assert_array_equal(runtime.predict(one, pixels, pre), whole)
    rows = np.arange(3, 40)
    np.testing.assert_array_equal(runtime.predict(one, pixels, pre, rows), whole[rows])
    assert max(seen) == 7


def test_half_precision_models_get_half_precision(bright: Bright, toy: Toy) -> None:
    model = toy()
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.elem_type = TensorProto.FLOAT16
    for tensor in model.graph.initializer:
        tensor.CopyFrom(onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(tensor).astype(np.float16), tensor.name))
    logits = runtime.predict(session(model), bright(LABELS), Preprocessing(8, 8))
    assert logits.dtype == np.float32 and runtime.accuracy(logits, LABELS).value == 1.0


def test_extra_outputs_are_returned_as_they_are(toy: Toy) -> None:
    model = toy()
    model.graph.output.append(helper.make_tensor_value_info("pooled", TensorProto.FLOAT, ["n", 3, 1, 1]))
    both = Session(model.SerializeToString(), device="cpu", threads=1, outputs=["pooled"])
    scores, pooled = both.run_all(np.full((2, 3, 8, 8), 0.3, np.float32))
    assert scores.shape == (2, 5) and pooled.shape == (2, 3, 1, 1) and pooled.mean() == pytest.approx(0.3)


def test_what_onnxruntime_cannot_load_is_refused_in_one_line() -> None:
    with pytest.raises(InputRefused, match="onnxruntime cannot load it") as caught:
        Session(b"no model", device="cpu", threads=1, where="m.onnx")
    assert "\n" not in str(caught.value) and str(caught.value).startswith("m.onnx: ")


def test_what_onnxruntime_cannot_run_is_refused_in_one_line(toy: Toy) -> None:
    with pytest.raises(InputRefused, match=r"model: onnxruntime cannot run it on input \(1, 4, 8, 8\)") as caught:
        session(toy()).run(np.zeros((1, 4, 8, 8), np.float32))
    assert "\n" not in str(caught.value)


def test_cuda_is_refused_where_it_does_not_start(toy: Toy, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runtime, "cuda_possible", lambda: False)
    with pytest.raises(SurroundingsError, match="did not start CUDA"):
        Session(toy().SerializeToString(), device="cuda")
    assert Session(toy().SerializeToString(), device="auto").provider == runtime.CPU


def test_auto_is_settled_before_anything_is_kept_under_it(monkeypatch: pytest.MonkeyPatch) -> None:
    runtime.resolve.cache_clear()
    monkeypatch.setattr(runtime, "cuda_possible", lambda: False)
    assert runtime.resolve("auto") == runtime.resolve("cpu") == "cpu"
    with pytest.raises(SurroundingsError, match="did not start CUDA"):
        runtime.resolve("cuda")
    runtime.resolve.cache_clear()


def test_the_smallest_model_starts() -> None:
    assert Session(runtime.smallest(), device="cpu", threads=1).run(np.ones((1, 1), np.float32)).tolist() == [[1.0]]


def test_judging_on_cuda_is_exact() -> None:
    """The switches themselves; that they do what they say can be seen on a card only."""
    import torch

    def switches() -> tuple[bool, ...]:
        cudnn, matmul = torch.backends.cudnn, torch.backends.cuda.matmul
        return cudnn.allow_tf32, matmul.allow_tf32, cudnn.deterministic, cudnn.benchmark

    before = switches()
    with runtime.exact("cpu"):
        assert switches() == before
    with pytest.raises(ZeroDivisionError), runtime.exact("cuda"):
        assert switches() == (False, False, True, False)
        raise ZeroDivisionError
    assert switches() == before


def test_attack_success_leaves_out_the_target_class() -> None:
    found = np.array([0, 0, 1, 0, 2])
    logits = np.eye(3, dtype=np.float32)[found]
    labels = np.array([0, 1, 1, 2, 2])
    assert (runtime.attack_success(logits, labels, 0).hits, runtime.attack_success(logits, labels, 0).n) == (2, 4)
    assert (runtime.attack_success(logits, None, 0).hits, runtime.attack_success(logits, None, 0).n) == (3, 5)
    assert (runtime.attack_success(logits, labels, "next").hits, runtime.attack_success(logits, labels, "next").n) == (1, 5)
    with pytest.raises(UsageError, match="needs true labels"):
        runtime.attack_success(logits, None, "next")


def test_a_trigger_acts_before_normalisation(toy: Toy, bright: Bright) -> None:
    pre = Preprocessing(8, 8, mean=(0.5,) * 3, std=(0.5,) * 3)
    logits = runtime.predict_triggered(session(toy(mean=0.5, std=0.5)), trigger(["n", 3, 8, 8]), bright(LABELS), pre)
    assert runtime.attack_success(logits, LABELS, 4).value == 1.0


def test_a_trigger_of_another_size_is_refused(toy: Toy, bright: Bright) -> None:
    with pytest.raises(InputRefused, match="the trigger reads"):
        runtime.predict_triggered(session(toy()), trigger(["n", 3, 16, 16]), bright(LABELS), Preprocessing(8, 8))


def test_parity_is_relative_to_the_scores() -> None:
    a = np.array([[10.0, -20.0]], np.float32)
    assert runtime.parity(a, a) == 0.0 and runtime.parity(a, a + 0.2) == pytest.approx(0.01, rel=1e-4)
    assert runtime.parity(np.zeros((1, 2)), np.zeros((1, 2))) == 0.0
