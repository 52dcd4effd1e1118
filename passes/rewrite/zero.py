"""Write a plan into the file: each planned channel becomes its constant, all other bytes stay.

A channel's weights become +0.0 and its bias entry the constant (exact float32 bits, rounded to the tensor's own type), in place and at the
same length. In a quantised graph weights that are codes become their zero point, and a bias that is one the nearest code,

    round(constant / scale) + zero point,    scale = s_x s_w[channel] for the int32 bias of a layer on codes,

which is exact for the bias that was there, for zero, and for a constant that the plan rounded so (`FilterSite.held`). The layer's output is
that constant for every image, rounded to a code as all its values are; saturation at the range's end is often its Relu.

Only where all this would change something else the file is restructured first, and the edits say so: a tensor that more
than one node reads is cloned for the node that is edited (`clone`), a missing bias is added where the constant is not zero (`add_bias`),
and numbers kept as varints that have no room for the new value are repacked (`repack`).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
from onnx import ModelProto, TensorProto

from rnpc.errors import InputRefused
from rnpc.passes.facts.coding import KINDS
from rnpc.passes.facts.place import Place
from rnpc.passes.facts.sites import find_places
from rnpc.passes.facts.view import View
from rnpc.passes.rewrite.check import TODO, refuse
from rnpc.passes.wire import splice
from rnpc.passes.wire import walk as wire
from rnpc.passes.wire.splice import Splice
from rnpc.plan import SitePlan
from rnpc.program import Codes

Edit = dict[str, Any]
HALF = (TensorProto.FLOAT16, TensorProto.BFLOAT16)


@dataclass(frozen=True)
class ZeroResult:
    """The edited file and the declared edits, in the plan's order."""

    data: bytes
    edits: list[Edit]


@dataclass
class Job:
    """A planned site with the tensors that it will write, which a restructuring may rename."""

    place: Place
    constants: dict[int, float]
    weight: str
    bias: str | None


@dataclass
class Restructuring:
    """Splices that the in-place edits need first, with their declarations and the names already taken."""

    taken: set[str]
    splices: list[Splice] = field(default_factory=list)
    edits: list[Edit] = field(default_factory=list)

    def fresh(self, name: str) -> str:
        """`name`, with a number behind it where it is taken."""
        free = next(n for n in (name, *(f"{name}_{k}" for k in range(1, len(self.taken) + 2))) if n not in self.taken)
        self.taken.add(free)
        return free


def write_zeros(source: bytes, model: ModelProto, sites: Sequence[SitePlan]) -> ZeroResult:
    """Silence the channels of `sites`, which `check` has found to be there; `model` is the parsed view of `source`.

    Raises InputRefused for a constant that the tensor's type cannot hold, for tensors whose place in the file is ambiguous, and where a
    constant needs a bias that the file has no place for.
    """
    if not any(entry.channels for entry in sites):
        return ZeroResult(source, [])
    places = {place.site.value: place for place in find_places(model)}
    jobs = [job(places, entry) for entry in sites if entry.channels]
    walked = wire.graph(source)
    prepared, edits = restructure(source, model, walked, jobs)
    walked = wire.graph(prepared) if edits else walked
    repacked_data, repacked = repack(prepared, walked, jobs)
    walked = wire.graph(repacked_data) if repacked else walked
    data = bytearray(repacked_data)
    written = [edit for each in jobs for edit in write(data, walked.tensors, each)]
    return ZeroResult(bytes(data), edits + repacked + written)


def job(places: dict[str, Place], entry: SitePlan) -> Job:
    """Resolve a planned site in the model."""
    if entry.site not in places:
        raise refuse(f"the model has no {entry.kind} site {entry.site}", TODO)
    place = places[entry.site]
    return Job(place, entry.constants(), place.site.weight, place.site.bias)


def restructure(source: bytes, model: ModelProto, walked: wire.Graph, jobs: Sequence[Job]) -> tuple[bytes, list[Edit]]:
    """Clone shared tensors and add missing biases; renames the jobs' tensors accordingly."""
    view = View(model)
    work = Restructuring(names(view))
    for each in jobs:
        check_tensors(walked, each)
        each.weight = clone(source, view, walked, work, each.weight, each.place.weight)
        if each.bias is not None and each.place.bias is not None:
            each.bias = clone(source, view, walked, work, each.bias, each.place.bias)
        elif any(each.constants.values()):
            each.bias = add_bias(source, model, walked, work, each)
    return splice.rewrite(source, work.splices), work.edits


def names(view: View) -> set[str]:
    """All names of values in the graph."""
    return {*view.makers, *view.readers, *view.tensors, *view.captured, *view.outputs}


def check_tensors(walked: wire.Graph, each: Job) -> None:
    """Raise InputRefused where a tensor's bytes are missing, doubled or of another size than its shape says."""
    for name in filter(None, (each.weight, each.bias)):
        tensor = walked.tensors.get(name)
        if tensor is None or tensor.copies:
            raise refuse(f"tensor {name} is stored {'twice' if tensor else 'nowhere'}", "export the model again", "model")
        if tensor.storage not in ("raw", "float", "double", "int32"):
            raise refuse(f"tensor {name} has no data in the file", "load it through rnpc, which brings external data in", "model")
        if tensor.storage != "int32" and sum(chunk.count for chunk in tensor.chunks) != tensor.size:
            raise misshapen(tensor)


def misshapen(tensor: wire.Tensor) -> InputRefused:
    """The error for a tensor whose data and shape disagree."""
    return refuse(f"tensor {tensor.name} holds another number of values than its shape {list(tensor.dims)}", "export it again", "model")


def clone(source: bytes, view: View, walked: wire.Graph, work: Restructuring, name: str, slot: tuple[int, int]) -> str:
    """Give the node a copy of its own where others read the tensor too; returns the name to write to."""
    if view.uses(name) == 1:
        return name
    k, position = slot
    copy = work.fresh(f"{name}_rnpc")
    work.splices.append(splice.append(walked.field, 5, splice.renamed(source, walked.tensors[name], copy)))
    work.splices.append(splice.set_input(source, walked.field, walked.nodes[k], position, copy))
    work.edits.append({"kind": "clone", "tensor": name, "copy": copy, "node": view.nodes[k].name or view.nodes[k].output[0]})
    return copy


def add_bias(source: bytes, model: ModelProto, walked: wire.Graph, work: Restructuring, each: Job) -> str:
    """Give the node a bias of zeros."""
    if each.place.bias is None:
        raise refuse(f"site {each.place.site.value} has no bias and no place for one", "make its constants zero", "model")
    k, position = each.place.bias
    node, site, dtype = model.graph.node[k], each.place.site, each.place.bias_type
    name = work.fresh(f"{site.value}_rnpc_bias")
    zeros = TensorProto(name=name, data_type=dtype, dims=[site.channels], raw_data=bytes(site.channels * wire.SIZES[dtype]))
    work.splices.append(splice.append(walked.field, 5, zeros.SerializeToString(deterministic=True)))
    work.splices.append(splice.set_input(source, walked.field, walked.nodes[k], position, name))
    if model.ir_version < 4:  # before IR 4 every initializer has to be a graph input too
        value = onnx.helper.make_tensor_value_info(name, dtype, [site.channels])
        work.splices.append(splice.append(walked.field, 11, value.SerializeToString(deterministic=True)))
    work.edits.append({"kind": "add_bias", "tensor": name, "node": node.name or node.output[0], "size": site.channels})
    return name


def repack(source: bytes, walked: wire.Graph, jobs: Sequence[Job]) -> tuple[bytes, list[Edit]]:
    """Rewrite half-precision tensors and codes kept as varints (whose lengths depend on the values) as raw data."""
    chosen = [name for each in jobs for name in (each.weight, each.bias) if name and walked.tensors[name].storage == "int32"]
    splices, edits = [], []
    for tensor in (walked.tensors[name] for name in dict.fromkeys(chosen)):
        values = [value for chunk in tensor.chunks for value in wire.varints(source, chunk.start, chunk.end)]
        raw = unpacked(tensor, values)
        if len(values) != tensor.size or raw is None:
            raise misshapen(tensor)
        body = splice.with_raw_data(source, tensor, raw)
        splices.append(Splice(tensor.path, tensor.message.key, tensor.message.end, wire.block(tensor.message.number, body)))
        edits.append({"kind": "repack", "tensor": tensor.name})
    return splice.rewrite(source, splices), edits


def unpacked(tensor: wire.Tensor, values: Sequence[int]) -> bytes | None:
    """The bytes of numbers that varints hold: bits of half precision, or whole numbers with their sign spread to 64 bits. None where one
    does not fit the type."""
    kind = np.dtype(onnx.helper.tensor_dtype_to_np_dtype(tensor.dtype)).newbyteorder("<")
    kind = np.dtype("<u2") if tensor.dtype in HALF else kind
    if any(value >= 1 << 64 for value in values):
        return None
    signed = np.array(values, np.uint64).astype(np.int64)
    if tensor.dtype not in (*HALF, *KINDS) or (signed != signed.astype(kind)).any():
        return None
    return signed.astype(kind).tobytes()


def write(data: bytearray, tensors: dict[str, wire.Tensor], each: Job) -> Iterable[Edit]:
    """Write one site's zeros and constants in place."""
    channels, weight, axis = sorted(each.constants), tensors[each.weight], each.place.site.weight_axis
    points = each.place.points
    blank(data, weight, axis, channels, points)
    at = {} if points is None else {"codes": [points[channel] for channel in channels]}
    yield {"kind": "zero", "tensor": weight.name, "axis": axis, "index": channels, **at}
    if each.bias is not None:
        bias = tensors[each.bias]
        bits = [number(bias, each.constants[channel], channel, each.place.site.codes) for channel in channels]
        put(data, bias, np.array(channels), b"".join(bits))
        yield {"kind": "set", "tensor": bias.name, "index": channels, "bits": [value[::-1].hex() for value in bits]}


def number(tensor: wire.Tensor, value: float, channel: int, codes: Codes | None) -> bytes:
    """`value` in the tensor's type, little-endian. Raises InputRefused where it would overflow."""
    if codes is not None:
        return code(tensor, value, channel, codes)
    with np.errstate(over="ignore"):
        cast = np.array(value, dtype=np.float32).astype(onnx.helper.tensor_dtype_to_np_dtype(tensor.dtype))
    if not np.isfinite(cast.astype(np.float64)):
        raise refuse(f"constant {value} does not fit the type of tensor {tensor.name}", "choose a smaller constant")
    return bytes(cast.tobytes())


def code(tensor: wire.Tensor, value: float, channel: int, codes: Codes) -> bytes:
    """The code nearest to `value`, little-endian. Raises InputRefused where no code is within a step of it."""
    found = codes.code(channel, value)
    if abs(codes.real(channel, found) - value) > max(codes.scale[channel], abs(value) * 1e-5):
        raise refuse(f"constant {value} is out of the range of the codes of tensor {tensor.name}", "choose a smaller constant")
    kind = np.dtype(onnx.helper.tensor_dtype_to_np_dtype(tensor.dtype)).newbyteorder("<")
    return np.array(found, dtype=kind).tobytes()


def blank(data: bytearray, tensor: wire.Tensor, axis: int, channels: list[int], points: Sequence[int] | None) -> None:
    """Write +0.0, or each channel's zero point, to whole channels."""
    if points is not None and any(points[channel] for channel in channels):
        kind = np.dtype(onnx.helper.tensor_dtype_to_np_dtype(tensor.dtype)).newbyteorder("<")
        for channel in channels:
            put(data, tensor, tensor.elements(axis, channel), np.array(points[channel], dtype=kind).tobytes())
        return
    if len(tensor.chunks) > 1:
        elements = np.concatenate([tensor.elements(axis, channel) for channel in channels])
        put(data, tensor, elements, bytes(wire.SIZES[tensor.dtype]))
        return
    (chunk,) = tensor.chunks
    outer = math.prod(tensor.dims[:axis])
    rows = np.frombuffer(data, dtype=np.uint8)[chunk.start : chunk.end].reshape(outer, tensor.dims[axis], -1)
    rows[:, channels] = 0


def put(data: bytearray, tensor: wire.Tensor, elements: np.ndarray, values: bytes) -> None:
    """Write to the given elements: one value to all of them, or one to each."""
    view, size = np.frombuffer(data, dtype=np.uint8), wire.SIZES[tensor.dtype]
    view[tensor.locate(elements)[:, None] + np.arange(size)] = np.frombuffer(values, dtype=np.uint8).reshape(-1, size)
