"""Parts of a serialized model and how they are called in a list of differences."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from rnpc.passes.wire import tree
from rnpc.passes.wire.walk import BYTES, EIGHT, FOUR, VARINT, Field, WireError, fields, text, varint, varints


@dataclass(frozen=True)
class Difference:
    """`kind` of thing, `where` it is from the outside in, what the plan makes of the original there, and what the file holds."""

    kind: str
    where: tuple[str, ...]
    declared: str
    found: str

    def __str__(self) -> str:
        return f"{self.kind}: {' / '.join(self.where) or 'file'}: declared {self.declared}, found {self.found}"


@dataclass(frozen=True)
class Part:
    """A message, or one occurrence of a field that holds none (`kind` is None then), in a file's bytes.

    `field` is its declaration in the schema, None for an unknown field and for the file itself; `key` is where the field begins.
    """

    data: bytes
    kind: tree.Kind | None
    start: int
    end: int
    field: Any = None
    wire: int = BYTES
    key: int = 0

    @property
    def whole(self) -> bytes:
        """All bytes, the field's key and length included."""
        return self.data[self.key : self.end]

    @property
    def is_tensor(self) -> bool:
        """Whether it is a TensorProto."""
        return self.kind is tree.TENSOR

    @cached_property
    def fields(self) -> tuple[Field, ...]:
        """A message's fields."""
        return tuple(fields(self.data, self.start, self.end))

    def numbered(self) -> dict[int, list[Field]]:
        """A message's fields by number."""
        found: dict[int, list[Field]] = {}
        for each in self.fields:
            found.setdefault(each.number, []).append(each)
        return found

    def child(self, inner: list[Field]) -> list[Part]:
        """Some fields of this message as parts."""
        assert self.kind is not None
        known = self.kind.fields_by_number
        return [Part(self.data, tree.message(self.kind, f), f.start, f.end, known.get(f.number), f.kind, f.key) for f in inner]

    def text(self, number: int) -> str:
        """The first string in a field of this message; empty where there is none."""
        return next((text(self.data, f) for f in self.fields if f.number == number and f.kind == BYTES), "")

    @property
    def sort(self) -> tuple[str, ...]:
        """What makes two messages comparable: their type, and a node's operator and own name."""
        name = "" if self.kind is None else str(self.kind.name)
        return (name, self.text(4), self.text(3)) if name == "NodeProto" else (name,)


LABELS = {
    "NodeProto": "node",
    "TensorProto": "tensor",
    "AttributeProto": "attribute",
    "FunctionProto": "function",
    "ValueInfoProto": "value",
}
LISTS = {"metadata_props": "metadata", "opset_import": "opset", "sparse_initializer": "tensor", "initializer": "tensor"}


def label(part: Part, name: str) -> str:
    """What kind of thing a message is."""
    return LISTS.get(name) or LABELS.get("" if part.kind is None else part.kind.name) or name


def named(part: Part, name: str, k: int) -> str:
    """A message's own name in words; `name` is the field that holds it, `k` its place there."""
    kind = "" if part.kind is None else str(part.kind.name)
    if kind == "NodeProto":
        return f"node {part.text(3) or part.text(2) or k} ({part.text(4)})"
    if kind == "TensorProto":
        return f"tensor {part.text(8)}" if part.text(8) else name
    if kind in ("AttributeProto", "ValueInfoProto", "FunctionProto", "StringStringEntryProto", "OperatorSetIdProto"):
        return f"{label(part, name)} {part.text(1) or 'ai.onnx'}"
    return name if part.field is None or not tree.repeated(part.field.containing_type, part.field.number) else f"{name}[{k}]"


def scalars(parts: list[Part]) -> list[Any]:
    """The values of a field that holds no message, packed or not."""
    return [value for part in parts for value in scalar(part)]


def scalar(part: Part) -> list[Any]:
    """Values of one occurrence: text, bytes, numbers."""
    raw, declared = part.data[part.start : part.end], part.field
    if part.wire == BYTES and declared.type == declared.TYPE_STRING:
        return [raw.decode("utf-8", "backslashreplace")]
    if part.wire == BYTES and declared.type == declared.TYPE_BYTES:
        return [raw]
    if part.wire == VARINT:
        return [signed(varint(part.data, part.start)[0])]
    size = {declared.TYPE_FLOAT: 4, declared.TYPE_DOUBLE: 8}.get(declared.type)
    if size is not None and len(raw) % size == 0 and part.wire in (BYTES, FOUR, EIGHT):
        return [found[0] for found in struct.iter_unpack("<f" if size == 4 else "<d", raw)]
    try:
        return [signed(value) for value in varints(part.data, part.start, part.end)] if part.wire == BYTES else [raw]
    except WireError:
        return [raw]


def signed(value: int) -> int:
    """A varint as the int64 that it stands for."""
    return value - 2**64 if value >= 2**63 else value


def apart(mine: list[Any], other: list[Any]) -> tuple[str, str]:
    """Two differing values (or none) as text; of long ones the part around the first character that is another."""
    one, two = text_of(mine), text_of(other)
    at = next((k for k, (a, b) in enumerate(zip(one, two, strict=False)) if a != b), min(len(one), len(two)))
    return cut(one, at), cut(two, at)


def text_of(values: list[Any]) -> str:
    """A value as text, bytes in hex."""
    if not values:
        return "none"
    return values[0].hex() if isinstance(values[0], bytes) else repr(values[0])


def cut(shown: str, at: int, room: int = 60) -> str:
    """At most `room` characters around place `at`."""
    if len(shown) <= room:
        return shown
    first = min(max(at - room // 3, 0), len(shown) - room)
    before, after = "..." if first else "", "..." if first + room < len(shown) else ""
    return f"{before}{shown[first : first + room]}{after}"
