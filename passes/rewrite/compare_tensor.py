"""How two stored tensors differ: how many elements, which first, at which byte of the file, and where their data lies."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
import onnx

from rnpc.passes.rewrite.shown import Difference, Part
from rnpc.passes.wire.splice import without
from rnpc.passes.wire.walk import BYTES, FIELDS, Field, Tensor, tensor

Messages = Callable[[Part, Part, tuple[str, ...]], Iterator[Difference]]


def compare_tensors(one: Part, two: Part, where: tuple[str, ...], messages: Messages) -> Iterator[Difference]:
    """Differences of two TensorProtos; `messages` compares what is no data."""
    if one.data[one.start : one.end] == two.data[two.start : two.end]:
        return
    mine, other = read(one), read(two)
    count = 0
    if other.storage == "external" and mine.storage != "external":
        count += 1
        yield Difference("external data", where, "data inside the file", "data in a file beside it")
    for difference in (*messages(head(one), head(two), where), *data(one, two, mine, other, where)):
        count += 1
        yield difference
    if not count:
        yield Difference("encoding", where, "the same values", f"other bytes within {two.start} to {two.end}")


def read(part: Part) -> Tensor:
    """The tensor's head, and where its data lies."""
    return tensor(part.data, Field(0, BYTES, part.key, part.start, part.end), ())


def head(part: Part) -> Part:
    """The tensor without its data, as a message of its own."""
    bare = without(part.data, Field(0, BYTES, part.key, part.start, part.end), tuple(FIELDS))
    return replace(part, data=bare, start=0, end=len(bare), key=0)


def data(one: Part, two: Part, mine: Tensor, other: Tensor, where: tuple[str, ...]) -> Iterator[Difference]:
    """Differences of the data, element by element where both lie in the same way."""
    before, after = payload(one), payload(two)
    if before == after and mine.storage == other.storage:
        return
    same = (mine.storage, mine.dtype, mine.dims) == (other.storage, other.dtype, other.dims)
    if not same or len(before) != len(after):
        yield Difference("tensor", where, f"{len(before)} bytes of data ({mine.storage})", f"{len(after)} bytes ({other.storage})")
        return
    size = width(mine, len(before))
    changed = np.frombuffer(before, np.uint8) != np.frombuffer(after, np.uint8)
    hit = np.flatnonzero(changed.reshape(-1, size).any(axis=1))
    first = int(hit[0])
    at = offset(two, first * size)
    what = f"{len(hit)} of {len(before) // size} elements differ, the first is {first}"
    yield Difference("tensor", where, value(mine, before, first, size), f"{value(mine, after, first, size)} at byte {at} ({what})")


def payload(part: Part) -> bytes:
    """All data of a tensor, in the order of its fields."""
    return b"".join(part.data[f.start : f.end] for f in part.fields if f.number in FIELDS)


def offset(part: Part, at: int) -> int:
    """Byte of the file that is byte `at` of the payload."""
    for f in (f for f in part.fields if f.number in FIELDS):
        if at < f.end - f.start:
            return f.start + at
        at -= f.end - f.start
    return part.end


def width(tensor: Tensor, length: int) -> int:
    """Bytes of an element, where the data is that many a piece; else 1."""
    return length // tensor.size if tensor.storage in ("raw", "float", "double") and tensor.size and length % tensor.size == 0 else 1


def value(tensor: Tensor, raw: bytes, element: int, size: int) -> str:
    """One element as a number, or its bytes where it is none."""
    piece = raw[element * size : (element + 1) * size]
    dtype = np.dtype(onnx.helper.tensor_dtype_to_np_dtype(tensor.dtype)) if tensor.dtype in onnx.TensorProto.DataType.values() else None
    if dtype is None or dtype.itemsize != size or tensor.storage == "int32":
        return f"0x{piece.hex()}"
    return str(np.frombuffer(piece, dtype)[0])
