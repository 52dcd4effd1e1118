"""Ways in: one file each, all to one `Program`. `load` chooses by what the file holds, not by its name."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

from rnpc.errors import InputRefused, UsageError
from rnpc.frontends import onnx_file
from rnpc.program import Program

__all__ = ["load"]


def load(
    path: str | Path,
    arch: str | None = None,
    trust: bool = False,
    shape: tuple[int, int, int] | None = None,
    output: str | None = None,
    study: bool = True,
) -> Program:
    """Read a classifier from an ONNX file, an exported program (.pt2), or weights (safetensors, checkpoint) of the architecture `arch`.

    `trust` lets an exported program with pickled objects in. `shape` is one image's (channels, height, width), for weights where nothing
    beside them says it. `output` names the graph output that carries the class scores, where there are several. With `study` a model
    that cannot be hardened is refused, too.

    Raises InputRefused for what cannot be read, UsageError where `arch` is missing or has no place.
    """
    path = Path(path)
    kind = sniff(onnx_file.read(path), path.name)
    if kind == "torchscript":
        raise InputRefused("a TorchScript archive", where=path.name, todo="export the module as ONNX, or save its state_dict")
    if kind == "weights":
        if arch is None:
            raise UsageError("weights without an architecture", where=path.name, todo="add --arch NAME or --arch package.module:factory")
        from rnpc.frontends import weights

        return weights.load(path, arch, shape, output, study)
    if arch is not None:
        raise UsageError("the file holds a whole model", where=path.name, todo="leave --arch away")
    if kind == "exported":
        from rnpc.frontends import exported

        return exported.load(path, trust, output, study)
    return onnx_file.load(path, output, study)


def sniff(data: bytes, name: str = "model") -> str:
    """What the bytes are: 'exported', 'weights', 'torchscript', or else 'onnx'."""
    if data[:4] == b"PK\x03\x04":
        return archive(data, name)
    if data[:1] == b"\x80" or is_safetensors(data):
        return "weights"
    return "onnx"


def archive(data: bytes, name: str) -> str:
    """What a zip archive of torch's holds, by its members. Raises InputRefused for a damaged archive, or one of something else."""
    try:
        members = [member.partition("/")[2] for member in zipfile.ZipFile(io.BytesIO(data)).namelist()]
    except zipfile.BadZipFile:
        raise InputRefused("a damaged zip archive", where=name, todo="save the model again") from None
    if any(member == "constants.pkl" or member.startswith("code/") for member in members):
        return "torchscript"
    if "data.pkl" in members:
        return "weights"
    if not any(member == "archive_format" or member.startswith("models/") for member in members):
        raise InputRefused("a zip archive, not a model", where=name, todo=onnx_file.EXPORT)
    return "exported"


def is_safetensors(data: bytes) -> bool:
    """Whether the bytes begin with a safetensors header: its length (64 bits), then a JSON object."""
    return len(data) > 9 and int.from_bytes(data[:8], "little") <= len(data) - 8 and data[8:9] == b"{"
