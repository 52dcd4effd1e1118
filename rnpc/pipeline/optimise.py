"""Deployment clean-up: a second file in which BatchNormalization is folded into the layer before it, constants are computed, and nodes
that do nothing are gone.

onnxruntime's offline optimiser does the work, at its basic level: that one rewrites a graph into standard operators, while the levels
above it write fused operators of onnxruntime's own and layouts of the processor at hand. Three things that it does besides are undone or
refused: it lists operator sets that nothing uses, moves QuantizeLinear and DequantizeLinear for its own fusions, and writes casts to
float32 around nodes that its processor cannot compute in half precision.

Proof is by parity only, and `verify` cannot cover it: both files run on the same images twice, node by node as they are stored (so that no
fusion at load time hides a difference) and with onnxruntime's usual fusions. The largest difference, in units of the largest score, has to
stay within BOUND: folding a scale into weights rounds each of them once, 6e-8 in float32, which sums to 1e-6 or, in deep networks, 1e-5.

What the verified file says of itself would be false of the second one: in the place of its plan stands the verified file's digest.
"""

from __future__ import annotations

import hashlib
import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import ModelProto

from rnpc.errors import InputRefused, SurroundingsError
from rnpc.passes.wire import provenance
from rnpc.runtime import THREADS, Session, parity, short

BOUND = 1e-4
"""Largest difference of any output, in units of the largest value of that output."""
IMAGES = 64
"""Images of the parity run, at most."""
DRAWN = 8
"""Images that are drawn at random where none are given."""
KEPT_OUT = ["QDQPropagationTransformer", "EnsureUniqueDQForNodeUnit"]
"""Rewrites of the basic level that only prepare later ones."""
UNKNOWN = {1: 3, 2: 64, 3: 64}
"""Sizes of axes that an input leaves open, for random images."""


@dataclass(frozen=True)
class Optimised:
    """The second file, nodes before and after, and the parity: the largest difference found, on how many images."""

    data: bytes
    before: int
    after: int
    difference: float
    images: int
    by: str

    def json(self, name: str | None) -> dict[str, Any]:
        """For a document; `name`: base name of the second file."""
        return {
            "path": name,
            "sha256": hashlib.sha256(self.data).hexdigest(),
            "by": self.by,
            "nodes_before": self.before,
            "nodes_after": self.after,
            "difference": self.difference,
            "bound": BOUND,
            "images": self.images,
            "verified": False,
            "why": None,
        }


def refused_json(name: str | None, error: InputRefused) -> dict[str, Any]:
    """For a document, where there is no second file."""
    fields = ("sha256", "by", "nodes_before", "nodes_after", "difference", "bound", "images")
    return {"path": name, **dict.fromkeys(fields), "verified": False, "why": f"{error.what}; {error.todo}" if error.todo else error.what}


def optimise(source: bytes, images: np.ndarray | None = None, *, where: str = "--optimize", threads: int = THREADS) -> Optimised:
    """The second file of `source`, which is self-contained.

    `images`: float32 model input [n, ...], of which the first are used; None draws some at random, seeded.
    Raises InputRefused where onnxruntime cannot make it, would bind it to this machine, or the outputs differ by more than BOUND.
    """
    import onnxruntime

    original = onnx.load_model_from_string(source)
    model = onnx.load_model_from_string(offline(source, where))
    check_portable(original, model, where)
    tidy(original, model, source)
    data = model.SerializeToString(deterministic=True)
    images = drawn(original) if images is None else images[:IMAGES]
    difference = max(differences(source, data, images, where, threads))
    if not difference <= BOUND:
        what = f"the optimised graph differs by {difference:.2g} of the outputs' scale (bound {BOUND:g}) on {len(images)} images"
        raise refuse(what, where)
    by = f"onnxruntime {onnxruntime.__version__}, basic level"
    return Optimised(data, len(original.graph.node), len(model.graph.node), float(f"{difference:.1e}"), len(images), by)


def offline(source: bytes, where: str) -> bytes:
    """What onnxruntime writes. Raises InputRefused where it cannot, SurroundingsError where there is no room for its file."""
    import onnxruntime as ort

    ort.set_default_logger_severity(4)
    options = ort.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_BASIC
    try:
        with tempfile.TemporaryDirectory(prefix="rnpc-") as folder:
            options.optimized_model_filepath = str(Path(folder) / "model.onnx")
            ort.InferenceSession(source, options, providers=["CPUExecutionProvider"], disabled_optimizers=KEPT_OUT)
            return Path(options.optimized_model_filepath).read_bytes()
    except OSError as error:
        what, todo = f"cannot be written ({error.strerror or error})", "make space in the temporary folder"
        raise SurroundingsError(what, where=where, todo=todo) from error
    except Exception as error:  # onnxruntime raises its own types, all of them derived from Exception only
        raise refuse(f"onnxruntime cannot optimise it ({short(error)})", where) from error


def check_portable(original: ModelProto, model: ModelProto, where: str) -> None:
    """Raise InputRefused where the graph holds what onnxruntime alone, or this machine's processor, wants."""
    before, after = kinds(original), kinds(model)
    foreign = sorted({domain for domain, _ in after} - {domain for domain, _ in before})
    if foreign:
        raise refuse(f"onnxruntime would write operators of its own ({', '.join(foreign)})", where)
    if after["", "Cast"] > before["", "Cast"]:
        raise refuse("onnxruntime would write float32 around what this processor does not compute in half precision", where)


def kinds(model: ModelProto) -> Counter[tuple[str, str]]:
    """How many nodes there are of each (domain, operator), in functions too."""
    nodes = (*model.graph.node, *(node for function in model.functions for node in function.node))
    return Counter(("" if node.domain == "ai.onnx" else node.domain, node.op_type) for node in nodes)


def tidy(original: ModelProto, model: ModelProto, source: bytes) -> None:
    """Take off operator sets that nothing uses, and put the digest of `source` in the place of what it says of itself."""
    listed, used = {entry.domain for entry in original.opset_import}, {"", *(domain for domain, _ in kinds(model))}
    versions = [entry for entry in model.opset_import if entry.domain in listed & used]
    kept = [entry for entry in model.metadata_props if not entry.key.startswith(provenance.PREFIX)]
    del model.opset_import[:], model.metadata_props[:]
    model.opset_import.extend(versions)
    model.metadata_props.extend(kept)
    if provenance.read(original):
        model.metadata_props.add(key=provenance.OPTIMISED, value=hashlib.sha256(source).hexdigest())


def differences(source: bytes, optimised: bytes, images: np.ndarray, where: str, threads: int) -> Iterator[float]:
    """The parity of every output that has a batch, with the graphs as they are stored and with onnxruntime's fusions."""
    names = [value.name for value in onnx.load_model_from_string(source).graph.output if len(value.type.tensor_type.shape.dim)]
    for plain in (True, False):
        sessions = (Session(data, device="cpu", threads=threads, outputs=names, where=where, plain=plain) for data in (source, optimised))
        wanted, found = (session.run_all(images) for session in sessions)
        yield from (parity(*(np.asarray(values, np.float64) for values in pair)) for pair in zip(wanted, found, strict=True))


def drawn(model: ModelProto) -> np.ndarray:
    """Random images float32 [DRAWN, ...] for the model's input, always the same ones: normal, or 0 to 255 for bytes."""
    stored = {tensor.name for tensor in model.graph.initializer}
    given = next((value.type.tensor_type for value in model.graph.input if value.name not in stored), onnx.TypeProto.Tensor())
    sizes = [dim.dim_value or UNKNOWN.get(axis, 1) for axis, dim in enumerate(given.shape.dim)]
    rng, shape = np.random.default_rng(0), (DRAWN, *sizes[1:])
    if given.elem_type == onnx.TensorProto.UINT8:
        return rng.integers(0, 256, shape).astype(np.float32)
    return rng.standard_normal(shape, np.float32)


def refuse(what: str, where: str) -> InputRefused:
    """The error for a second file that cannot be had."""
    return InputRefused(what, where=where, todo="no optimised file was written; deploy the verified one")
