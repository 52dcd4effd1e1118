"""The proof that comes before any use of a twin: on the user's own images it gives the scores that onnxruntime gives.

The bound is 1e-3 of the scores' scale (at least 1). Two float32 programs of the same network differ by their order of summation: 1e-6 to
1e-5 of the scale in networks of up to 120 layers, on CPU and GPU (TF32 is off); a wrong attribute, a lost node or a transposed weight
moves scores by their own size. 1e-3 lies far from both. A graph that computes in half precision is rounded at each node while the twin
is not, so that its bound is 5e-2.

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
from rnpc.runtime import Session, cast
from rnpc.twin.module import Twin

BOUND, HALF_BOUND = 1e-3, 5e-2
"""Largest difference of scores, in units of their scale: float32 graphs, and graphs with float16 or bfloat16 in them."""
HALF = (onnx.TensorProto.FLOAT16, onnx.TensorProto.BFLOAT16)
TODO = "this is a defect of rnpc or a graph that onnxruntime reads otherwise: please report it"


def prove(
    twin: Twin, model: onnx.ModelProto, images: np.ndarray, *, where: str, device: str | torch.device = "cpu", threads: int = 2
) -> float:
    """Largest difference of scores between twin and onnxruntime, in units of the scores' scale.

    Args:
        twin: made from `model`; moved to `device` and back to where it was.
        model: the user's graph, run by onnxruntime on the CPU.
        images: model input, float32 [n, ...].
        where: the model's name in errors.
        device: where the twin runs.

    Raises:
        InputRefused: the twin cannot run, scores are not finite, or the difference is above the bound; names the first node that differs.
    """
    wanted = Session(model.SerializeToString(), device="cpu", threads=threads, where=where).run(images)
    if not np.isfinite(wanted).all():
        raise InputRefused("the model's scores are not finite on the given images", where=where, todo="check the preprocessing")
    found = _scores(twin, images, device, where)
    scale = max(1.0, float(np.abs(wanted).max(initial=0.0)))
    if found.shape == wanted.shape:
        difference = float(np.abs(found - wanted).max(initial=0.0)) / scale
        if difference <= bound(model):
            return difference
        what = f"the twin differs from onnxruntime by {difference:.2g} of the scores' scale (bound {bound(model):g})"
    else:
        what = f"the twin gives scores of shape {found.shape}, onnxruntime {wanted.shape}"
    raise InputRefused(f"{what}, first at {first_difference(twin, model, images[:2], device)}", where=where, todo=TODO)


def bound(model: onnx.ModelProto) -> float:
    """The bound for this graph, by the types of its weights."""
    return HALF_BOUND if any(t.data_type in HALF for t in model.graph.initializer) else BOUND


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
    producers = {name: node for node in model.graph.node for name in node.output if name in twin.layout.values}
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

    copy = onnx.ModelProto()
    copy.CopyFrom(model)
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
