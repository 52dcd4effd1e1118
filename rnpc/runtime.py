"""onnxruntime sessions, and what is measured with them: logits, accuracy (CA), attack success (ASR), parity.

Every number that rnpc reports is measured here, on the bytes of a file. The provider is the one that the session says it uses, never the
one that was asked for: onnxruntime falls back to the CPU silently. The thread count is a setting with a fixed default, so that results
do not depend on the machine; threads do not spin, since idle spinning slows everything else that runs.

Images stay uint8 until they are run, in parts whose size follows theirs (`part_of`), so that memory does not grow with their number and
little with their size. On CUDA, TF32 is off and the algorithm of a convolution is not searched for: it is chosen by its shape. That
makes runs on one machine with one set of versions alike, but other cards may choose other algorithms, and then differ in rounding.
"""

from __future__ import annotations

import ctypes
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from typing import Any, Literal

import numpy as np

from rnpc.data.images import ImageSet
from rnpc.data.preprocess import to_input, unit_to_input
from rnpc.errors import InputRefused, SurroundingsError, UsageError
from rnpc.program import Preprocessing, Program
from rnpc.stats import Rate, rate

Device = Literal["auto", "cpu", "cuda"]
THREADS = 2
PART = 128
"""Images that are run at a time, at most."""
PART_BYTES = 1 << 23
"""Bytes of float32 input that are run at a time, at most; activations take some 20 to 60 times as much."""
CUDA = "CUDAExecutionProvider"
CPU = "CPUExecutionProvider"
# TF32 would round products to ten bits; a searched algorithm could differ from run to run.
CUDA_OPTIONS = {"use_tf32": "0", "cudnn_conv_algo_search": "DEFAULT"}
# Without VNNI onnxruntime adds products of unsigned by signed codes in 16 bits, which overflow unseen; with this entry (read where its
# optimiser is on) it makes the weights unsigned, and int8 networks give what their graph says on every processor.
# onnxruntime 1.31 then lacks a kernel for a QGemm of signed by signed codes there: such a model is started without, and may saturate.
EXACT = "session.x64quantprecision"
NUMPY_TYPES = {"tensor(float)": np.float32, "tensor(float16)": np.float16, "tensor(double)": np.float64, "tensor(uint8)": np.uint8}


class Session:
    """A model in onnxruntime with one image input. `provider` is the one that runs it, `batch` the fixed batch size or None."""

    def __init__(
        self,
        data: bytes,
        *,
        device: Device = "auto",
        threads: int = THREADS,
        outputs: Sequence[str] = (),
        where: str = "model",
        scores: str | None = None,
        plain: bool = False,
    ) -> None:
        """Raises InputRefused where onnxruntime cannot load `data`, SurroundingsError where `device` cannot be had.

        `scores`: the output that carries the scores (default: the first). `outputs`: names to return from `run_all` beside the scores. All
        must be graph outputs. `plain`: node by node as they are stored, nothing fused.
        """
        self._session = start(data, device, threads, where, plain)
        self.provider = str(self._session.get_providers()[0])
        if device == "cuda" and self.provider != CUDA:
            raise no_cuda()
        inputs, self._names = self._session.get_inputs(), [o.name for o in self._session.get_outputs()]
        if len(inputs) != 1:
            raise InputRefused(f"{len(inputs)} inputs, expected one image", where=where, todo="export the classifier alone")
        self._input = inputs[0].name
        if inputs[0].type not in NUMPY_TYPES:
            raise InputRefused(f"input of type {inputs[0].type}", where=where, todo="supported are float, float16, double and uint8")
        self._dtype: Any = NUMPY_TYPES[inputs[0].type]
        self.shape = tuple(d if isinstance(d, int) else None for d in inputs[0].shape)
        self.batch = self.shape[0] if self.shape else None
        self._wanted, self._where = [scores or self._names[0], *outputs], where

    @staticmethod
    def of(program: Program, *, device: Device = "auto", threads: int = THREADS) -> Session:
        """Session on a program's own bytes."""
        return Session(program.source, device=device, threads=threads, where=program.name, scores=program.signature.output)

    def run(self, x: np.ndarray) -> np.ndarray:
        """Scores float32 [n, K] of float32 input [n, ...]."""
        scores = self.run_all(x)[0]
        return np.ascontiguousarray(scores.reshape(len(x), -1), dtype=np.float32)

    def run_all(self, x: np.ndarray) -> list[np.ndarray]:
        """The scores and the extra outputs, each [n, ...] in the type the graph has; in parts, whatever n is."""
        step = self.batch or part_of(x.shape[1:])
        parts = [self._batch(x[i : i + step]) for i in range(0, max(len(x), 1), step)]
        return [np.concatenate(column) for column in zip(*parts, strict=True)]

    def _batch(self, x: np.ndarray) -> list[np.ndarray]:
        """One call; a short batch is padded with its last image where the graph's batch is fixed."""
        n = len(x)
        if self.batch and n < self.batch:
            x = np.concatenate([x, np.repeat(x[-1:], self.batch - n, axis=0)])
        try:
            values = self._session.run(self._wanted, {self._input: cast(x, self._dtype)})
        except Exception as error:  # as in `start`
            what = f"onnxruntime cannot run it on input {x.shape} ({short(error)})"
            raise InputRefused(what, where=self._where, todo="check the input's size") from error
        return [np.asarray(value)[:n] for value in values]


def cast(x: np.ndarray, dtype: Any) -> np.ndarray:
    """`x` in the model's input type; integers are rounded, not cut."""
    if np.issubdtype(dtype, np.integer):
        x = np.clip(np.rint(x), np.iinfo(dtype).min, np.iinfo(dtype).max)
    return np.ascontiguousarray(x, dtype=dtype)


def start(data: bytes, device: Device, threads: int, where: str, plain: bool = False) -> Any:
    """An onnxruntime InferenceSession; quiet, without spinning threads."""
    import onnxruntime as ort

    ort.set_default_logger_severity(4)
    options = ort.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    if plain:
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    providers: list[Any] = [CPU]
    if device != "cpu" and cuda_possible():
        providers.insert(0, (CUDA, CUDA_OPTIONS))
    for value in ("1", "0"):
        options.add_session_config_entry(EXACT, value)
        try:
            return quiet(lambda: ort.InferenceSession(data, options, providers=providers))
        except Exception as error:  # onnxruntime raises its own types, all of them derived from Exception only
            if value == "0" or type(error).__name__ != "NotImplemented":
                what = f"onnxruntime cannot load it ({short(error)})"
                raise InputRefused(what, where=where, todo="check it with onnx.checker") from error
    raise AssertionError("the last way is returned or refused")


def short(error: Exception) -> str:
    """onnxruntime's message without its code, file positions and line breaks."""
    text = re.sub(r"\[ONNXRuntimeError\] : \d+ : \w+ : |/\S+?:\d+ ", "", " ".join(str(error).split()))
    return text if len(text) <= 300 else f"{text[:297]}..."


@cache
def cuda_possible() -> bool:
    """Whether it makes sense to ask onnxruntime for CUDA: its build has the provider and the machine has a driver."""
    import onnxruntime as ort

    if CUDA not in ort.get_available_providers():
        return False
    try:
        ctypes.CDLL("libcuda.so.1")
    except OSError:
        return False
    if hasattr(ort, "preload_dlls"):
        quiet(ort.preload_dlls)
    return True


def quiet(call: Callable[[], Any]) -> Any:
    """Result of `call`, without what it prints from Python: onnxruntime reports each library that it does not find that way."""
    import contextlib
    import io

    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        return call()


@cache
def resolve(device: Device) -> Literal["cpu", "cuda"]:
    """What `auto` means on this machine: CUDA where torch finds a device and onnxruntime really starts a session on it.

    Raises SurroundingsError where CUDA is asked for and cannot be had.
    """
    if device == "cpu" or (device == "auto" and not cuda_possible()):
        return "cpu"
    import torch

    if torch.cuda.is_available() and cuda_possible() and start(smallest(), "cuda", 1, "probe").get_providers()[0] == CUDA:
        return "cuda"
    if device == "cuda":
        raise no_cuda()
    return "cpu"


def smallest() -> bytes:
    """A model of one node."""
    from onnx import TensorProto, helper

    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 1]) for name in "xy")
    graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "smallest", [x], [y])
    data: bytes = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8).SerializeToString()
    return data


@contextmanager
def exact(device: str) -> Iterator[None]:
    """Torch's products in full float32 inside, and its deterministic algorithms, where `device` is CUDA; as it was, after.

    For what is judged in torch. TF32 keeps ten bits of a product's factors, enough to move a decision of a close image.
    """
    if not device.startswith("cuda"):
        yield
        return
    import torch

    cudnn, matmul = torch.backends.cudnn, torch.backends.cuda.matmul
    before = cudnn.allow_tf32, matmul.allow_tf32, cudnn.deterministic, cudnn.benchmark
    cudnn.allow_tf32, matmul.allow_tf32, cudnn.deterministic, cudnn.benchmark = False, False, True, False
    try:
        yield
    finally:
        cudnn.allow_tf32, matmul.allow_tf32, cudnn.deterministic, cudnn.benchmark = before


def no_cuda() -> SurroundingsError:
    """The error for `--device cuda` where onnxruntime did not start CUDA."""
    return SurroundingsError("onnxruntime did not start CUDA", where="--device cuda", todo="run `rnpc doctor`, or use --device cpu")


def part_of(shape: Sequence[int]) -> int:
    """How many images of a shape (without the batch) are run at a time."""
    return max(1, min(PART, PART_BYTES // max(1, 4 * int(np.prod(shape)))))


def batches(n: int, size: int) -> Iterator[slice]:
    """Slices of at most `size` that cover range(n)."""
    return (slice(i, min(i + size, n)) for i in range(0, n, size))


def predict(session: Session, images: ImageSet | np.ndarray, pre: Preprocessing, rows: np.ndarray | None = None) -> np.ndarray:
    """Logits float32 [n, K] of uint8 images [n, H, W, C], or of those at `rows`."""
    pixels = images.images if isinstance(images, ImageSet) else images
    return in_parts(lambda part: session.run(to_input(part, pre)), pixels, rows)


def predict_triggered(
    session: Session, trigger: Session, images: ImageSet | np.ndarray, pre: Preprocessing, rows: np.ndarray | None = None
) -> np.ndarray:
    """Logits of images that went through a trigger graph: float32 NCHW RGB in [0, 1], before normalisation, in and out."""
    pixels = images.images if isinstance(images, ImageSet) else images
    return in_parts(lambda part: session.run(unit_to_input(apply_trigger(trigger, part), pre)), pixels, rows)


def in_parts(run: Callable[[np.ndarray], np.ndarray], pixels: np.ndarray, rows: np.ndarray | None) -> np.ndarray:
    """`run` of the images (at `rows`) part by part, joined: no copy of all of them is made, in whatever type."""
    count, step = len(pixels) if rows is None else len(rows), part_of(pixels.shape[1:])
    parts = [run(pixels[part] if rows is None else pixels[rows[part]]) for part in batches(max(count, 1), step)]
    return np.concatenate(parts)


def apply_trigger(trigger: Session, images: np.ndarray) -> np.ndarray:
    """Triggered images as floats in [0, 1], [n, H, W, C], from uint8 [n, H, W, C]."""
    x = np.ascontiguousarray(images.transpose(0, 3, 1, 2), dtype=np.float32) / np.float32(255)
    if len(trigger.shape) != 4 or any(want not in (None, have) for want, have in zip(trigger.shape[1:], x.shape[1:], strict=True)):
        what = f"the trigger reads {trigger.shape}, the images are {x.shape}"
        raise InputRefused(what, where="trigger", todo="use the trigger made for this model")
    y = trigger.run_all(x)[0]
    if y.shape != x.shape:
        raise InputRefused(f"the trigger turns {x.shape} into {y.shape}", where="trigger", todo="it must return images of the same shape")
    return np.asarray(y, dtype=np.float32).transpose(0, 2, 3, 1)


def accuracy(logits: np.ndarray, labels: np.ndarray) -> Rate:
    """Share of images whose largest score is their label, with its interval."""
    return rate(int(np.sum(logits.argmax(1) == labels)), len(labels))


def attack_success(logits: np.ndarray, labels: np.ndarray | None, target: int | Literal["next"]) -> Rate:
    """Share of triggered images that the model puts into the target class; `labels` are the true ones.

    Images whose true label is the target do not count. `next` means label + 1 modulo K. Without labels every image counts.
    """
    answers = logits.argmax(1)
    if target == "next":
        if labels is None:
            raise UsageError("the target `next` needs true labels", where="--target", todo="give triggered images in class folders")
        return rate(int(np.sum(answers == (labels + 1) % logits.shape[1])), len(labels))
    counted = np.ones(len(answers), dtype=bool) if labels is None else labels != target
    return rate(int(np.sum(answers[counted] == target)), int(counted.sum()))


def parity(expected: np.ndarray, actual: np.ndarray) -> float:
    """Largest difference of two sets of logits, relative to the largest magnitude of the expected ones."""
    scale = float(np.max(np.abs(expected))) if expected.size else 0.0
    difference = float(np.max(np.abs(expected - actual))) if expected.size else 0.0
    return difference / scale if scale > 0 else difference
