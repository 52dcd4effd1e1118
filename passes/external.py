"""Bring external data into the model file.

A model whose weights lie beside it (as torch's dynamo exporter writes it) is made self-contained before anything else looks at it, so
that one digest covers all that counts and the output does not depend on a file that stays behind. Data is read from the model's own
folder only: `location` is part of an untrusted file.
"""

from __future__ import annotations

from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

from rnpc import files
from rnpc.errors import InputRefused
from rnpc.passes.splice import Splice, rewrite, with_raw_data
from rnpc.passes.wire import Tensor, block, fields, graph, text

LIMIT = 2**31 - 1
"""Largest protobuf message, in bytes."""


def inline(data: bytes, folder: Path, where: str) -> tuple[bytes, list[dict[str, Any]]]:
    """The model's bytes with all external tensors of the main graph in raw_data, and the declared edits (one per tensor)."""
    walked = graph(data)
    outside = [tensor for tensor in walked.tensors.values() if tensor.storage == "external"]
    splices, edits, total = [], [], len(data)
    for tensor in outside:
        raw, source = load(data, tensor, folder, where)
        total += len(raw)
        if total > LIMIT:
            raise InputRefused("with its external data the model is larger than 2 GB", where=where, todo="rnpc handles models up to 2 GB")
        splices.append(Splice(tensor.path, tensor.message.key, tensor.message.end, block_of(data, tensor, raw)))
        edits.append({"kind": "inline_external_data", "tensor": tensor.name, "file": source})
    return rewrite(data, splices), edits


def sources(data: bytes, folder: Path) -> list[Path]:
    """The files that hold the model's external data, whether they are there or not; none for bytes that are no ONNX file."""
    try:
        outside = [tensor for tensor in graph(data).tensors.values() if tensor.storage == "external"]
        return sorted({folder / location for tensor in outside if (location := stated(data, tensor).get("location", "").replace("\0", ""))})
    except (ValueError, RecursionError):  # whatever is wrong with it, reading it as a model will tell
        return []


def block_of(data: bytes, tensor: Tensor, raw: bytes) -> bytes:
    """The field that holds the tensor, with its data inside."""
    return block(tensor.message.number, with_raw_data(data, tensor, raw))


def load(data: bytes, tensor: Tensor, folder: Path, where: str) -> tuple[bytes, str]:
    """Bytes of one external tensor and the base name of the file that holds them."""
    entries = stated(data, tensor)
    path = inside(folder, entries.get("location", ""), where)
    try:
        offset = int(entries.get("offset", "0"))
        size = path.stat().st_size
        length = int(entries.get("length", str(size - offset)))
    except (OSError, ValueError) as error:
        raise InputRefused(f"external data of tensor {tensor.name} is unreadable ({path.name})", where=where, todo=TODO) from error
    if offset < 0 or length < 0 or offset + length > size:
        raise InputRefused(f"external data of tensor {tensor.name} ends outside {path.name}", where=where, todo=TODO)
    try:
        with path.open("rb") as file:
            file.seek(offset)
            return file.read(length), path.name
    except OSError as error:
        raise files.unreadable(str(path), error) from error


def stated(data: bytes, tensor: Tensor) -> dict[str, str]:
    """What a tensor says about its external data."""
    return dict(entry(data, f.start, f.end) for f in fields(data, tensor.message.start, tensor.message.end) if f.number == 13)


TODO = "put the data file that the exporter wrote beside the model"


def inside(folder: Path, location: str, where: str) -> Path:
    """The file named by `location`, which must be in the model's folder, links resolved."""
    relative, null = PurePosixPath(location), "\0" in location
    path = (folder / ("" if null else location)).resolve()
    if not location or null or relative.is_absolute() or PureWindowsPath(location).drive or not path.is_relative_to(folder.resolve()):
        raise InputRefused(f"external data outside the model's folder: {location!r}", where=where, todo="move the data beside the model")
    if files.kind(path) != "file":
        raise InputRefused(f"external data file is missing: {location}", where=where, todo=TODO)
    return path


def entry(data: bytes, start: int, end: int) -> tuple[str, str]:
    """Key and value of a StringStringEntryProto."""
    parts = {f.number: text(data, f) for f in fields(data, start, end)}
    return parts.get(1, ""), parts.get(2, "")
