"""New tensors travel in a safetensors file beside the plan: names, types, shapes and bytes, nothing that could run."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import onnx
import safetensors
import safetensors.numpy
from onnx import TensorProto

from rnpc.errors import InputRefused

TYPES: dict[str, int] = {
    "F64": TensorProto.DOUBLE, "F32": TensorProto.FLOAT, "F16": TensorProto.FLOAT16, "BF16": TensorProto.BFLOAT16, "BOOL": TensorProto.BOOL,
    "I64": TensorProto.INT64, "I32": TensorProto.INT32, "I16": TensorProto.INT16, "I8": TensorProto.INT8,
    "U64": TensorProto.UINT64, "U32": TensorProto.UINT32, "U16": TensorProto.UINT16, "U8": TensorProto.UINT8,
}  # fmt: skip
"""Types of safetensors that ONNX has too, and whose values are whole bytes."""
deserialize: Callable[[bytes], list[tuple[str, dict[str, Any]]]] = safetensors.deserialize  # torch's side of the package stays out


def load(data: bytes, where: str) -> dict[str, np.ndarray]:
    """Tensors by name. Raises InputRefused for what is no safetensors file, or holds a type that is not in `TYPES`."""
    try:
        entries = deserialize(data)
    except safetensors.SafetensorError as error:
        raise InputRefused(f"no safetensors file ({error})", where=where, todo="give the file that was written with the plan") from error
    return {name: array(name, entry["dtype"], entry["shape"], bytes(entry["data"]), where) for name, entry in entries}


def array(name: str, kind: str, shape: list[int], data: bytes, where: str) -> np.ndarray:
    """One entry as an array."""
    if kind not in TYPES:
        raise InputRefused(f"tensor {name} is of type {kind}", where=where, todo=f"known are {', '.join(TYPES)}")
    dtype = np.dtype(onnx.helper.tensor_dtype_to_np_dtype(TYPES[kind]))
    return np.frombuffer(data, dtype=dtype).reshape(shape)


def dump(tensors: Mapping[str, np.ndarray]) -> bytes:
    """The file for these tensors; equal tensors give equal bytes."""
    return bytes(safetensors.numpy.save({name: np.asarray(tensors[name], order="C") for name in sorted(tensors)}))
