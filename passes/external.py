"""Bring external data into the model file.

A model whose weights lie beside it (as torch's dynamo exporter writes it) is made self-contained before anything else looks at it, so
that one digest covers all that counts and the output does not depend on a file that stays behind. Data is read from the model's own
folder only: `location` is part of an untrusted file.
"""

from __future__ import annotations

from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

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


def block_of(data: bytes, tensor: Tensor, raw: bytes) -> bytes:
    """The field that holds the tensor, with its data inside."""
    return block(tensor.message.number, with_raw_data(data, tensor, raw))


def load(data: bytes, tensor: Tensor, folder: Path, where: str) -> tuple[bytes, str]:
    """Bytes of one external tensor and the base name of the file that holds them."""
    entries = dict(entry(data, f.start, f.end) for f in fields(data, tensor.message.start, tensor.message.end) if f.number == 13)
    path = inside(folder, entries.get("location", ""), where)
    try:
        offset = int(entries.get("offset", "0"))
        size = path.stat().st_size
        length = int(entries.get("length", str(size - offset)))
    except (OSError, ValueError) as error:
        raise InputRefused(f"external data of tensor {tensor.name} is unreadable ({path.name})", where=where, todo=TODO) from error
    if offset < 0 or length < 0 or offset + length > size:
        raise InputRefused(f"external data of tensor {tensor.name} ends outside {path.name}", where=where, todo=TODO)
    with path.open("rb") as file:
        file.seek(offset)
        return file.read(length), path.name


TODO = "put the data file that the exporter wrote beside the model"


def inside(folder: Path, location: str, where: str) -> Path:
    """The file named by `location`, which must be in the model's folder, links resolved."""
    relative = PurePosixPath(location)
    path = (folder / location).resolve()
    if not location or relative.is_absolute() or PureWindowsPath(location).drive or not path.is_relative_to(folder.resolve()):
        raise InputRefused(f"external data outside the model's folder: {location!r}", where=where, todo="move the data beside the model")
    if not path.is_file():
        raise InputRefused(f"external data file is missing: {location}", where=where, todo=TODO)
    return path


def entry(data: bytes, start: int, end: int) -> tuple[str, str]:
    """Key and value of a StringStringEntryProto."""
    parts = {f.number: text(data, f) for f in fields(data, start, end)}
    return parts.get(1, ""), parts.get(2, "")
