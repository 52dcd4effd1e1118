"""The proof that comes before any use of a twin: on the user's own images it gives the scores that onnxruntime gives.

The bound is 1e-3 of the scores' scale (at least 1). Two float32 programs of the same network differ by their order of summation: 1e-6 to
1e-5 of the scale in networks of up to 120 layers, on CPU and GPU (TF32 is off); a wrong attribute, a lost node or a transposed weight
moves scores by their own size. 1e-3 lies far from both. A graph that computes in half precision is rounded at each node while the twin
is not, so that its bound is 5e-2. So it is in a quantised graph: onnxruntime sums whole numbers and the twin sums floats, so that a value
which lies between two codes may fall to either, and each layer hands that on.

A studied network ends in its scores while the user's graph may dress them (`facts/scores`): onnxruntime is then asked for the value behind
the tail, and the tail has to rank the classes as the scores do.

On a difference all values are compared in the graph's order, with onnxruntime's optimiser off, and the first node that differs is named.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import onnx
import torch
from torch import Tensor

from rnpc.errors import InputRefused
from rnpc.passes.canonical.inline import Inline
from rnpc.passes.canonical.qforms import FORMS, key, quantised
from rnpc.passes.canonical.tail import scores_name
from rnpc.passes.driver import copied
from rnpc.passes.facts.view import View, is_op, order
from rnpc.runtime import Session, cast
from rnpc.twin.module import Twin

BOUND, HALF_BOUND = 1e-3, 5e-2
"""Largest difference of scores, in units of their scale: float32 graphs, and graphs with float16, bfloat16 or codes in them."""
TIE = 1e-3
"""What the output may lose at the largest score, in units of its scale: saturated and rounded outputs have ties."""
HALF = (onnx.TensorProto.FLOAT16, onnx.TensorProto.BFLOAT16)
TODO = "this is a defect of rnpc or a graph that onnxruntime reads otherwise: please report it"


def prove(
    twin: Twin,
    model: onnx.ModelProto,
    images: np.ndarray,
    *,
    where: str,
    device: str | torch.device = "cpu",
    threads: int = 2,
    output: str | None = None,
) -> float:
    """Largest difference of scores between twin and onnxruntime, in units of the scores' scale.

    Args:
        twin: made from `model` or from its studied form; moved to `device` and back to where it was.
        model: the user's graph, run by onnxruntime on the CPU.
        images: model input, float32 [n, ...].
        where: the model's name in errors.
        device: where the twin runs.
        output: the graph output that carries the scores (default: the first).

    Raises:
        InputRefused: the twin cannot run, scores are not finite, the tail ranks otherwise than the scores, or the difference is above the
            bound; names the first node that differs.
    """
    plain = Inline().run(copied(model)).model if model.functions else model
    value, limit = _compared(plain, scores_name(twin.layout.outputs[0][1]))
    wanted, dressed = _asked(plain, value, output, images, where, threads)
    if not np.isfinite(wanted).all():
        raise InputRefused("the model's scores are not finite on the given images", where=where, todo="check the preprocessing")
    found = _scores(twin, images, device, where)
    scale = max(1.0, float(np.abs(wanted).max(initial=0.0)))
    if found.shape == wanted.shape:
        difference = float(np.abs(found - wanted).max(initial=0.0)) / scale
        if difference <= limit:
            _same_order(wanted, dressed, where)
            return difference
        what = f"the twin differs from onnxruntime by {difference:.2g} of the scores' scale (bound {limit:g})"
    else:
        what = f"the twin gives scores of shape {found.shape}, onnxruntime {wanted.shape}"
    raise InputRefused(f"{what}, first at {first_difference(twin, plain, images[:2], device)}", where=where, todo=TODO)


def _compared(model: onnx.ModelProto, value: str) -> tuple[str, float]:
    """The user's value that holds the scores in real units, and the bound: where they are made as codes, what the first DQ gives of them,
    rounded as it is."""
    view = View(model)
    reals = [view.nodes[k].output[0] for k, _ in view.readers.get(value, []) if is_op(view.nodes[k], "DequantizeLinear")]
    maker = view.maker(value)
    if reals and maker is not None and key(maker) in FORMS:
        return str(reals[0]), HALF_BOUND
    return value, bound(model)


def _asked(
    model: onnx.ModelProto, value: str, output: str | None, images: np.ndarray, where: str, threads: int
) -> tuple[np.ndarray, np.ndarray]:
    """The value that the twin ends in and the graph's own output, float32 [n, K] each, by onnxruntime."""
    names = [each.name for each in model.graph.output]
    if value not in names:
        model = copied(model)
        model.graph.output.append(onnx.ValueInfoProto(name=value))
    session = Session(model.SerializeToString(), device="cpu", threads=threads, outputs=[value], where=where, scores=output)
    dressed, scores = (np.asarray(part).reshape(len(images), -1).astype(np.float32) for part in session.run_all(images))
    return scores, dressed


def _same_order(scores: np.ndarray, dressed: np.ndarray, where: str) -> None:
    """Raise InputRefused unless the output is as large at the largest score as anywhere, but for rounding."""
    if scores.shape == dressed.shape:
        at_best = np.take_along_axis(dressed, scores.argmax(1)[:, None], axis=1)[:, 0]
        if (dressed.max(1) - at_best <= TIE * np.maximum(1.0, np.abs(dressed).max(1))).all():
            return
    raise InputRefused("the output ranks the classes otherwise than the scores before its last operators", where=where, todo=TODO)


def bound(model: onnx.ModelProto) -> float:
    """The bound for this graph, by the types of its weights, and whether it works on codes."""
    return HALF_BOUND if quantised(model) or any(t.data_type in HALF for t in model.graph.initializer) else BOUND


@contextmanager
def _evaluating(twin: Twin, device: str | torch.device) -> Iterator[torch.device]:
    """The twin in eval mode on `device`, with TF32 and gradients off; all is put back."""
    training, home = twin.training, next((p.device for p in twin.parameters()), torch.device("cpu"))
    tf32 = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    try:
        with torch.no_grad():
            twin.eval().to(device)
            yield torch.device(device)
    finally:
        torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = tf32
        twin.train(training).to(home)


def _scores(twin: Twin, images: np.ndarray, device: str | torch.device, where: str) -> np.ndarray:
    with _evaluating(twin, device) as there:
        try:
            parts = [twin(torch.from_numpy(images[i : i + 64]).to(there)).cpu() for i in range(0, len(images), 64)]
        except (RuntimeError, ValueError, TypeError, IndexError) as error:
            place = " ".join(getattr(error, "__notes__", []))
            raise InputRefused(f"the twin cannot run it: {error} {place}", where=where, todo=TODO) from error
    return torch.cat(parts).reshape(len(images), -1).numpy()


def first_difference(twin: Twin, model: onnx.ModelProto, images: np.ndarray, device: str | torch.device = "cpu") -> str:
    """The first node, in the graph's order, one of whose outputs differs by more than the bound in units of its own scale."""
    nodes = [model.graph.node[k] for k in order(model.graph.node)]
    producers = {name: node for node in nodes for name in node.output if name in twin.layout.values}
    wanted = _all_values(model, list(producers), images)
    with _evaluating(twin, device) as there:
        _, found = twin(torch.from_numpy(images).to(there), capture=[name for name in producers if name in wanted])
    for name, node in producers.items():
        if name in wanted and not _alike(wanted[name], found[name], bound(model)):
            return f"node {node.name or '(unnamed)'} ({node.op_type}) making {name}"
    return "no single node: the difference builds up over the graph"


def _alike(wanted: np.ndarray, found: Tensor, limit: float) -> bool:
    value = found.float().cpu().numpy()
    if value.shape != wanted.shape:
        return False
    reference = wanted.astype(np.float32)
    scale = float(np.abs(reference).max(initial=1e-6))
    return bool(np.abs(value - reference).max(initial=0.0) <= limit * scale)


def _all_values(model: onnx.ModelProto, names: list[str], images: np.ndarray) -> dict[str, np.ndarray]:
    """Values inside the graph, computed by onnxruntime with its optimiser off. Those that it cannot give are left out."""
    import onnxruntime as ort

    copy = copied(model)
    there = {output.name for output in copy.graph.output}
    copy.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names if name not in there)
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads, options.log_severity_level = 1, 4
    session: Any = ort.InferenceSession(copy.SerializeToString(), options, providers=["CPUExecutionProvider"])
    first = session.get_inputs()[0]
    types = {"tensor(float16)": np.float16, "tensor(double)": np.float64, "tensor(uint8)": np.uint8}
    values = session.run(None, {first.name: cast(images, types.get(first.type, np.float32))})
    named = zip((output.name for output in session.get_outputs()), values, strict=True)
    return {name: np.asarray(value) for name, value in named if isinstance(value, np.ndarray | np.generic)}
