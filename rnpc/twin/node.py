"""What an operator's function sees: one node, its attributes parsed and its constant inputs at hand.

An operator is a *factory*: called once when the twin is built, it reads attributes and constants and returns the function that runs. The
function takes the node's inputs in order (None for an absent one) and returns the output, or a tuple where there are several.
Shape arithmetic runs on CPU tensors of int64, so that no size ever waits for a device.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
import torch
from torch import Tensor

from rnpc.registry import Registry

Run = Callable[..., Any]


class Unhandled(Exception):
    """Raised by a factory for a form of its operator that it does not know; the message says which."""


@dataclass(frozen=True)
class Modes:
    """Two functions where training differs from evaluation."""

    evaluate: Run
    train: Run


@dataclass(frozen=True)
class Node:
    """A node to build. `fixed` holds the values of constant inputs by name: integers, booleans and scalars, never weights."""

    name: str
    op_type: str
    since: int
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, Any]
    constants: Mapping[str, np.ndarray]

    def get(self, name: str, default: Any = None) -> Any:
        """The attribute, or `default`."""
        return self.attributes.get(name, default)

    def has(self, index: int) -> bool:
        """Whether input `index` is present."""
        return index < len(self.inputs) and self.inputs[index] != ""

    def wants(self, index: int) -> bool:
        """Whether anyone may read output `index`."""
        return index < len(self.outputs) and self.outputs[index] != ""

    def fixed(self, index: int) -> np.ndarray | None:
        """The constant at input `index`; None where it is absent or computed."""
        return self.constants.get(self.inputs[index]) if self.has(index) else None

    def integers(self, index: int, attribute: str | None = None) -> list[int] | None:
        """Integers given by an attribute (older versions) or a constant input; None where absent or computed."""
        if attribute is not None and attribute in self.attributes:
            return [int(i) for i in np.atleast_1d(self.attributes[attribute])]
        value = self.fixed(index)
        return None if value is None else [int(i) for i in value.reshape(-1)]


Factory = Callable[[Node], Run | Modes]
OPERATORS: Registry[Factory] = Registry("twin operators")
operator = OPERATORS.register


def integers(fixed: list[int] | None, given: Tensor | None) -> list[int] | None:
    """Integers known when the twin was built, else those computed now."""
    if fixed is not None or given is None:
        return fixed
    return [int(i) for i in given.reshape(-1).tolist()]


def together(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """Both on one device: a constant or a size lives on the CPU and follows the other. CPU scalars need no move."""
    if a.device == b.device or not a.dim() or not b.dim():
        return a, b
    return (a.to(b.device), b) if a.device.type == "cpu" else (a, b.to(a.device))


FLOATS = {onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16, onnx.TensorProto.BFLOAT16, onnx.TensorProto.DOUBLE}
DTYPES: dict[int, torch.dtype] = {
    **dict.fromkeys(FLOATS, torch.float32),
    onnx.TensorProto.INT64: torch.int64,
    onnx.TensorProto.INT32: torch.int32,
    onnx.TensorProto.INT16: torch.int16,
    onnx.TensorProto.INT8: torch.int8,
    onnx.TensorProto.UINT8: torch.uint8,
    onnx.TensorProto.BOOL: torch.bool,
}
"""ONNX element type -> dtype in the twin, where every float is float32."""


def host(value: np.ndarray) -> Tensor:
    """A constant as a CPU tensor in the twin's dtypes (float32 for all floats)."""
    known = value.dtype.kind in "iub" and value.dtype.name in {"int64", "int32", "int16", "int8", "uint8", "bool"}
    kept = value if known else value.astype(np.int64 if value.dtype.kind == "u" else np.float32)
    return torch.from_numpy(np.array(kept, copy=True, order="C"))
