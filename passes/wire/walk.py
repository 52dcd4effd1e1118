"""Where the bytes of each tensor lie in a serialized ModelProto.

Parsing a model and saving it again rewrites packed fields, so edits are written into the file's own bytes. This walker knows as much of
protobuf's wire format as that takes: a message is a row of fields, each a key (number << 3 | kind) and a payload: kind 0 varint, 1 eight
bytes, 2 length and bytes, 3 and 4 group, 5 four bytes. ModelProto.graph is field 7, GraphProto.node 1 and initializer 5, NodeProto.input
1, output 2 and attribute 5, AttributeProto.name 1 and t 5; for TensorProto see `FIELDS`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from math import prod
from typing import Literal

import numpy as np
from onnx import TensorProto

Storage = Literal["raw", "float", "int32", "double", "other", "external"]
FIELDS: dict[int, Storage] = {9: "raw", 4: "float", 5: "int32", 10: "double", 6: "other", 7: "other", 11: "other"}
SIZES: dict[int, int] = {TensorProto.FLOAT: 4, TensorProto.DOUBLE: 8, TensorProto.FLOAT16: 2, TensorProto.BFLOAT16: 2}
SIZES |= {TensorProto.INT8: 1, TensorProto.UINT8: 1, TensorProto.INT16: 2, TensorProto.UINT16: 2, TensorProto.INT32: 4}
"""Bytes of an entry, of the types that a site's tensors have."""
VARINT, EIGHT, BYTES, GROUP, END_GROUP, FOUR = range(6)


class WireError(ValueError):
    """Bytes that are no protobuf message, or end within one."""


@dataclass(frozen=True)
class Field:
    """One field: its key starts at `key`, its payload (without the length) is data[start:end]."""

    number: int
    kind: int
    key: int
    start: int
    end: int


@dataclass(frozen=True)
class Chunk:
    """`count` elements of `size` bytes from `start`; varints are counted as bytes."""

    start: int
    size: int
    count: int

    @property
    def end(self) -> int:
        """Offset behind the last element."""
        return self.start + self.size * self.count


@dataclass(frozen=True)
class Tensor:
    """A stored tensor. `message` is its TensorProto, `path` the fields around that from the outside in.

    `copies`: its data is there twice, under one name or in two fields.
    """

    name: str
    dtype: int
    dims: tuple[int, ...]
    storage: Storage
    chunks: tuple[Chunk, ...]
    message: Field
    path: tuple[Field, ...]
    copies: bool = False

    @property
    def size(self) -> int:
        """Number of elements by the shape."""
        return prod(self.dims)

    def elements(self, axis: int, index: int) -> np.ndarray:
        """Flat element numbers (int64, rising) of slice `index` along `axis`."""
        inner, outer = prod(self.dims[axis + 1 :]), prod(self.dims[:axis])
        rows = np.arange(outer, dtype=np.int64) * self.dims[axis] + index
        return np.asarray((rows[:, None] * inner + np.arange(inner, dtype=np.int64)).ravel())

    def locate(self, elements: np.ndarray) -> np.ndarray:
        """Byte offsets of elements that have a fixed size (all storages but int32)."""
        ends = np.cumsum([chunk.count for chunk in self.chunks])
        which = np.searchsorted(ends, elements, side="right")
        table = np.array([[c.start, c.size, end - c.count] for c, end in zip(self.chunks, ends, strict=True)], dtype=np.int64)
        start, size, first = table[which].T
        return np.asarray(start + (elements - first) * size)

    def spans(self, axis: int, index: int) -> list[tuple[int, int]]:
        """Byte ranges of slice `index` along `axis`, neighbours merged."""
        spans: list[tuple[int, int]] = []
        for start in self.locate(self.elements(axis, index)).tolist():
            if spans and spans[-1][1] == start:
                spans[-1] = (spans[-1][0], start + SIZES[self.dtype])
            else:
                spans.append((start, start + SIZES[self.dtype]))
        return spans


@dataclass(frozen=True)
class Graph:
    """The main graph's field, its nodes in order, and the stored tensors by name (a Constant node's by its output)."""

    field: Field
    nodes: tuple[Field, ...]
    tensors: dict[str, Tensor]


def index(data: bytes) -> dict[str, Tensor]:
    """Stored tensors of the main graph by name. Raises WireError."""
    return graph(data).tensors


def graph(data: bytes) -> Graph:
    """Walk a ModelProto. Raises WireError, also where its graph is split over several fields (which protobuf would merge)."""
    graphs = [field for field in fields(data, 0, len(data)) if field.number == 7 and field.kind == BYTES]
    if len(graphs) != 1:
        raise WireError(f"{len(graphs)} graph fields where one is expected")
    nodes: list[Field] = []
    tensors: dict[str, Tensor] = {}
    for field in fields(data, graphs[0].start, graphs[0].end):
        found = None
        if field.number == 1:
            nodes.append(field)
            found = constant(data, graphs[0], field)
        elif field.number == 5:
            found = tensor(data, field, (graphs[0],))
        if found is not None:
            tensors[found.name] = replace(found, copies=True) if found.name in tensors else found
    return Graph(graphs[0], tuple(nodes), tensors)


def constant(data: bytes, outer: Field, node: Field) -> Tensor | None:
    """The tensor of a Constant node, under the node's output name."""
    parts = list(fields(data, node.start, node.end))
    if not any(f.number == 4 and data[f.start : f.end] == b"Constant" for f in parts):
        return None
    output = next((text(data, f) for f in parts if f.number == 2), "")
    for attribute in (f for f in parts if f.number == 5):
        inner = list(fields(data, attribute.start, attribute.end))
        value = next((f for f in inner if f.number == 5), None)
        if value is not None and any(f.number == 1 and data[f.start : f.end] == b"value" for f in inner):
            return replace(tensor(data, value, (outer, node, attribute)), name=output)
    return None


def tensor(data: bytes, message: Field, path: tuple[Field, ...]) -> Tensor:
    """Read a TensorProto's head and find its data. raw_data counts where several kinds are filled, as in onnxruntime."""
    name, dtype, dims = "", 0, list[int]()
    kinds: dict[Storage, list[Field]] = {}
    for field in fields(data, message.start, message.end):
        if field.number == 1:
            dims += varints(data, field.start, field.end)
        elif field.number == 2:
            dtype = varint(data, field.start)[0]
        elif field.number == 8:
            name = text(data, field)
        elif field.number == 14 and varint(data, field.start)[0] == TensorProto.EXTERNAL:
            kinds["external"] = []
        elif field.number in FIELDS and field.end > field.start:
            kinds.setdefault(FIELDS[field.number], []).append(field)
    order: tuple[Storage, ...] = ("external", "raw", "float", "double", "int32")
    storage: Storage = next((kind for kind in order if kind in kinds), "other")
    parts = kinds.get(storage, [])
    size = 1 if storage == "int32" else SIZES.get(dtype, 1)
    # A bytes field given twice is not merged: the last one counts. Repeated numbers are all counted.
    chunks = [Chunk(f.start, size, (f.end - f.start) // size) for f in (parts[-1:] if storage == "raw" else parts)]
    return Tensor(name, dtype, tuple(dims), storage, tuple(chunks), message, path, len(kinds) > 1)


def fields(data: bytes, start: int, end: int) -> Iterator[Field]:
    """Fields of the message data[start:end]. Raises WireError where they do not fit."""
    at = start
    while at < end:
        key, tag, body = at, data[at], at + 1  # most numbers are one byte
        if tag >= 0x80:
            tag, body = varint(data, at)
        number, kind = tag >> 3, tag & 7
        if kind == BYTES:
            if body >= end:
                raise WireError(f"no length of field {number} at byte {key}")
            length, body = (data[body], body + 1) if data[body] < 0x80 else varint(data, body)
            at = body + length
        elif kind == GROUP:
            at = skip_group(data, body, end)
        else:
            at = skip(data, kind, body)
        if at > end or number == 0:
            raise WireError(f"field {number} at byte {key} runs over its message's end")
        yield Field(number, kind, key, body, at)


def skip(data: bytes, kind: int, at: int) -> int:
    """End of a payload of fixed size or a varint."""
    if kind == VARINT:
        return varint(data, at)[1]
    if kind in (EIGHT, FOUR):
        return at + (8 if kind == EIGHT else 4)
    raise WireError(f"wire type {kind} at byte {at}")


def skip_group(data: bytes, at: int, end: int) -> int:
    """End of a group, its closing key included."""
    while at < end:
        tag, body = varint(data, at)
        if tag & 7 == END_GROUP:
            return body
        at = next(fields(data, at, end)).end
    raise WireError("a group without an end")


def varint(data: bytes, at: int) -> tuple[int, int]:
    """Value of the varint at `at`, and the offset behind it."""
    value = shift = 0
    while at < len(data) and shift < 70:
        byte = data[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return value, at
    raise WireError(f"no end of the number at byte {at}")


def varints(data: bytes, start: int, end: int) -> list[int]:
    """Values of the varints in data[start:end]: a repeated field's payload, packed or not."""
    values, at = [], start
    while at < end:
        value, at = varint(data, at)
        values.append(value)
    return values


def text(data: bytes, field: Field) -> str:
    """A string field."""
    return bytes(data[field.start : field.end]).decode("utf-8", "surrogateescape")


def encode(number: int) -> bytes:
    """`number` as a varint."""
    out = bytearray()
    while number >= 0x80:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*out, number])


def block(number: int, payload: bytes) -> bytes:
    """A length-delimited field."""
    return encode(number << 3 | BYTES) + encode(len(payload)) + payload
