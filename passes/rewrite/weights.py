"""Write retrained tensors into the file: each keeps its name, type, shape and place; all other bytes stay.

The plan holds the sha256 of a tensor's values (row by row, little-endian) before and after, so that it says what may be replaced by what
without holding either. Values that lie in the file at a fixed size are overwritten; numbers kept as varints, whose lengths depend on the
values, are stored as raw data instead (`repack`).
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, numpy_helper

from rnpc.passes.rewrite.check import refuse
from rnpc.passes.rewrite.tensor_file import TYPES
from rnpc.passes.wire import splice
from rnpc.passes.wire import walk as wire
from rnpc.passes.wire.splice import Splice
from rnpc.plan import Retrained, Weights

Edit = dict[str, Any]
TODO = "give the tensors that the plan was made with"
NONE = Weights(())


def declare(source: bytes, tensors: Mapping[str, np.ndarray]) -> Weights:
    """The edit that replaces these tensors of the file's main graph by new values, in the order of their names.

    Raises InputRefused for a name that the file does not have, or another type or shape.
    """
    index = wire.index(source)
    found = []
    for name in sorted(tensors):
        before, after = digest(values(source, stored(index, name))), digest(fitting(index[name], tensors[name]))
        found.append(Retrained(name, before, after))
    return Weights(tuple(found))


def replace(source: bytes, edit: Weights, tensors: Mapping[str, np.ndarray]) -> tuple[bytes, list[Edit]]:
    """The file with the tensors of `edit` replaced, and the declared edits in its order.

    Raises InputRefused where `tensors` are not just those of the edit, by name, type, shape and digest, or the file's are not.
    """
    names = [entry.tensor for entry in edit.tensors]
    if len(set(names)) < len(names):
        raise refuse("a tensor is listed twice", "list it once")
    if lacking := sorted(set(names) - tensors.keys()):
        raise refuse(f"the plan replaces tensor {lacking[0]}, whose new values are not given", "give them with --weights FILE")
    if more := sorted(tensors.keys() - set(names)):
        raise refuse(f"tensor {more[0]} is not one that the plan replaces", TODO, "weights")
    index, data = wire.index(source), bytearray(source)
    splices, edits = list[Splice](), list[Edit]()
    for entry in edit.tensors:
        tensor = stored(index, entry.tensor)
        new = checked(source, tensor, entry, tensors[entry.tensor])
        if fixed(tensor, len(new)):
            overwrite(data, tensor, new)
        else:
            body = splice.with_raw_data(source, tensor, new)
            splices.append(Splice(tensor.path, tensor.message.key, tensor.message.end, wire.block(tensor.message.number, body)))
            edits.append({"kind": "repack", "tensor": tensor.name})
        edits.append({"kind": "replace", "tensor": entry.tensor, "before": entry.before, "after": entry.after})
    return splice.rewrite(bytes(data), splices), edits


def checked(source: bytes, tensor: wire.Tensor, entry: Retrained, new: np.ndarray) -> bytes:
    """The new values as bytes, once both digests fit."""
    if digest(values(source, tensor)) != entry.before:
        raise refuse(f"tensor {tensor.name} is not the one that was retrained: its digest is another", "apply it to the original model")
    found = fitting(tensor, new)
    if digest(found) != entry.after:
        raise refuse(f"the new values of tensor {tensor.name} are not those of the plan: their digest is another", TODO, "weights")
    return found


def stored(index: Mapping[str, wire.Tensor], name: str) -> wire.Tensor:
    """The tensor of this name. Raises InputRefused unless the main graph holds it once, in a type with whole bytes."""
    tensor = index.get(name)
    if tensor is None or tensor.copies:
        raise refuse(f"tensor {name} is stored {'twice' if tensor else 'nowhere'} in the model", "name a tensor of its main graph")
    if tensor.dtype not in TYPES.values():
        raise refuse(f"tensor {name} is of type {TensorProto.DataType.Name(tensor.dtype)}", "such tensors cannot be replaced")
    return tensor


def values(source: bytes, tensor: wire.Tensor) -> bytes:
    """A stored tensor's values, row by row, little-endian. Raises InputRefused where they do not fit the shape."""
    return little(array(source, tensor))


def array(source: bytes, tensor: wire.Tensor) -> np.ndarray:
    """A stored tensor's values. Raises InputRefused where they lie elsewhere or do not fit the shape."""
    proto = TensorProto.FromString(source[tensor.message.start : tensor.message.end])
    try:
        if tensor.storage == "external":
            raise ValueError("its data lies in another file")
        return np.asarray(numpy_helper.to_array(proto))
    except (ValueError, TypeError) as error:
        raise refuse(f"tensor {tensor.name} cannot be read ({error})", "export the model again", "model") from error


def fitting(tensor: wire.Tensor, new: np.ndarray) -> bytes:
    """The bytes of `new`. Raises InputRefused unless it has the tensor's type and shape."""
    dtype = np.dtype(onnx.helper.tensor_dtype_to_np_dtype(tensor.dtype))
    if new.dtype != dtype or new.shape != tensor.dims:
        what = f"tensor {tensor.name} is {dtype} {list(tensor.dims)}, its new values are {new.dtype} {list(new.shape)}"
        raise refuse(what, TODO, "weights")
    return little(new)


def little(array: np.ndarray) -> bytes:
    """Row by row, little-endian."""
    return array.tobytes() if sys.byteorder == "little" else array.byteswap().tobytes()


def digest(data: bytes) -> str:
    """SHA-256, hex."""
    return hashlib.sha256(data).hexdigest()


def fixed(tensor: wire.Tensor, size: int) -> bool:
    """Whether the tensor's values lie in the file at a fixed size each, all of them."""
    return tensor.storage in ("raw", "float", "double") and sum(chunk.size * chunk.count for chunk in tensor.chunks) == size


def overwrite(data: bytearray, tensor: wire.Tensor, new: bytes) -> None:
    """Write the values where the old ones are."""
    at = 0
    for chunk in tensor.chunks:
        data[chunk.start : chunk.end] = new[at : at + chunk.end - chunk.start]
        at += chunk.end - chunk.start
