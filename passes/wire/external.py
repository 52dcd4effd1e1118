"""Bring external data into the model file.

A model whose weights lie beside it (as torch's dynamo exporter writes it) is made self-contained before anything else looks at it, so
that one digest covers all that counts and the output does not depend on a file that stays behind. That goes for every tensor of the file,
those in branches, loops and functions too, which onnxruntime would read from the working directory. Data is read from the model's own
folder only: `location` is part of an untrusted file.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

from rnpc import files
from rnpc.errors import InputRefused
from rnpc.passes.wire import tree
from rnpc.passes.wire.splice import Splice, rewrite, with_raw_data
from rnpc.passes.wire.walk import Tensor, WireError, block, fields, graph, text

LIMIT = 2**31 - 1
"""Largest protobuf message, in bytes."""
TODO = "put the data file that the exporter wrote beside the model"


@dataclass(frozen=True)
class Extent:
    """Where a tensor's bytes lie: `length` bytes at `offset` of `path`."""

    path: Path
    offset: int
    length: int


def inline(data: bytes, folder: Path, where: str) -> tuple[bytes, list[dict[str, Any]]]:
    """The model's bytes with all external tensors in raw_data, and the declared edits (one per tensor).

    Raises InputRefused for data that is missing, outside the folder, or too large for one protobuf message (nothing is read then).
    """
    try:
        named = list(outside(data))
    except (WireError, RecursionError) as error:
        raise InputRefused(f"a damaged ONNX file ({error})", where=where, todo="export the model again") from error
    found = [(tensor, name, extent(data, tensor, name, folder, where)) for tensor, name in named]
    if not found:
        return data, []
    check_size(len(data) + sum(place.length for _, _, place in found), where)
    splices, edits = [], []
    for tensor, name, place in found:
        body = block(tensor.message.number, with_raw_data(data, tensor, load(place)))
        splices.append(Splice(tensor.path, tensor.message.key, tensor.message.end, body))
        edits.append({"kind": "inline_external_data", "tensor": name, "file": place.path.name})
    return rewrite(data, splices), edits


def check_size(size: int, where: str) -> None:
    """Raises InputRefused for a model of more bytes than one protobuf message can have."""
    if size > LIMIT:
        what = f"with all its data the model is {size / 2**30:.1f} GiB, more than the 2 GiB of one protobuf message"
        raise InputRefused(what, where=where, todo="rnpc handles models up to 2 GiB")


def outside(data: bytes) -> Iterator[tuple[Tensor, str]]:
    """Every tensor of the file that names external data, and what to call it (a Constant's by its output). Raises WireError."""
    called = {tensor.message.key: name for name, tensor in graph(data).tensors.items()}
    return ((t, called.get(t.message.key, t.name)) for t in tree.tensors(data) if t.storage == "external")


def sources(data: bytes, folder: Path) -> list[Path]:
    """The files that hold the model's external data, whether they are there or not; none for bytes that are no ONNX file."""
    try:
        named = [stated(data, tensor).get("location", "").replace("\0", "") for tensor, _ in outside(data)]
        return sorted({folder / location for location in named if location})
    except (ValueError, RecursionError):  # whatever is wrong with it, reading it as a model will tell
        return []


def extent(data: bytes, tensor: Tensor, name: str, folder: Path, where: str) -> Extent:
    """Where one external tensor's bytes are. Raises InputRefused unless they are in a file of the folder."""
    entries = stated(data, tensor)
    path = inside(folder, entries.get("location", ""), where)
    try:
        offset, size = int(entries.get("offset", "0")), path.stat().st_size
        length = int(entries.get("length", str(size - offset)))
    except (OSError, ValueError) as error:
        raise InputRefused(f"external data of tensor {name} is unreadable ({path.name})", where=where, todo=TODO) from error
    if offset < 0 or length < 0 or offset + length > size:
        raise InputRefused(f"external data of tensor {name} ends outside {path.name}", where=where, todo=TODO)
    return Extent(path, offset, length)


def load(place: Extent) -> bytes:
    """The bytes of an extent."""
    try:
        with place.path.open("rb") as file:
            file.seek(place.offset)
            return file.read(place.length)
    except OSError as error:
        raise files.unreadable(str(place.path), error) from error


def stated(data: bytes, tensor: Tensor) -> dict[str, str]:
    """What a tensor says about its external data."""
    return dict(entry(data, f.start, f.end) for f in fields(data, tensor.message.start, tensor.message.end) if f.number == 13)


def inside(folder: Path, location: str, where: str) -> Path:
    """The file named by `location`, which must be in the model's folder, links resolved."""
    relative = PurePosixPath(location)
    odd = not location or "\0" in location or relative.is_absolute() or bool(PureWindowsPath(location).drive)
    path = (folder / ("" if odd else location)).resolve()
    if odd or not path.is_relative_to(folder.resolve()):
        place = "outside" if odd or ".." in relative.parts else "behind a link out of"
        what = f"external data lies {place} the model's folder: {location!r}"
        raise InputRefused(what, where=where, todo="move the data beside the model")
    if files.kind(path) != "file":
        raise InputRefused(f"external data file is missing: {location}", where=where, todo=TODO)
    return path


def entry(data: bytes, start: int, end: int) -> tuple[str, str]:
    """Key and value of a StringStringEntryProto."""
    parts = {f.number: text(data, f) for f in fields(data, start, end)}
    return parts.get(1, ""), parts.get(2, "")
