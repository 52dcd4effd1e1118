"""Messages inside messages, by onnx's own schema: every place where a tensor may lie, in subgraphs, functions and sparse tensors too.

The main graph's index (`walk`) serves edits. What must miss nothing (a tensor that names a file, a difference) goes by the schema instead:
a field is entered if, and only if, onnx declares it as a message.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import Any

from onnx import ModelProto, TensorProto

from rnpc.passes.wire.walk import BYTES, Field, Tensor, WireError, fields, tensor

Kind = Any
"""A message type's descriptor."""
MODEL: Kind = ModelProto.DESCRIPTOR
TENSOR: Kind = TensorProto.DESCRIPTOR


def tensors(data: bytes) -> Iterator[Tensor]:
    """Every tensor of a serialized ModelProto, in the order of the file. Raises WireError.

    A message that may stand once and stands twice is an error: protobuf would merge the two, and no walk could tell what is in force.
    """
    yield from within(data, MODEL, 0, len(data), ())


def within(data: bytes, kind: Kind, start: int, end: int, path: tuple[Field, ...]) -> Iterator[Tensor]:
    """Tensors of the message data[start:end] of this kind."""
    seen: set[int] = set()
    for field in fields(data, start, end):
        inner = message(kind, field)
        if inner is None or inner.full_name not in holders():
            continue
        if field.number in seen and not repeated(kind, field.number):
            raise WireError(f"{kind.name} holds its field {field.number} twice")
        seen.add(field.number)
        if inner is TENSOR:
            yield tensor(data, field, path)
        else:
            yield from within(data, inner, field.start, field.end, (*path, field))


def message(kind: Kind, field: Field) -> Kind | None:
    """The type of the message that a field holds; None for values, and for fields that the schema does not know."""
    declared = kind.fields_by_number.get(field.number)
    return declared.message_type if declared is not None and field.kind == BYTES else None


def repeated(kind: Kind, number: int) -> bool:
    """Whether a field may stand more than once."""
    declared = kind.fields_by_number[number]
    found = getattr(declared, "is_repeated", None)  # `label`, which older versions of protobuf have, is deprecated in newer ones
    return bool(declared.label == declared.LABEL_REPEATED if found is None else found)


@cache
def holders() -> frozenset[str]:
    """Names of the message types that are, or may hold, a tensor."""
    kinds, found = reachable(MODEL), {TENSOR.full_name}
    while new := {k.full_name for k in kinds if k.full_name not in found and any(inner.full_name in found for inner in inside(k))}:
        found |= new
    return frozenset(found)


def reachable(kind: Kind) -> list[Kind]:
    """All message types of a model, each once."""
    found = {kind.full_name: kind}
    todo = [kind]
    while todo:
        for inner in inside(todo.pop()):
            if inner.full_name not in found:
                found[inner.full_name] = inner
                todo.append(inner)
    return list(found.values())


def inside(kind: Kind) -> list[Kind]:
    """Message types of a type's own fields."""
    return [declared.message_type for declared in kind.fields if declared.message_type is not None]
