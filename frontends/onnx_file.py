"""An ONNX file -> Program.

The file's bytes are the truth: they are kept as they came, with external data brought in where it lay outside.
"""

from __future__ import annotations

import ast
import contextlib
import hashlib
import json
from pathlib import Path

import onnx
from google.protobuf.message import DecodeError
from onnx import ModelProto

from rnpc import files
from rnpc.errors import InputRefused
from rnpc.frontends import signature
from rnpc.passes.facts import intake
from rnpc.passes.facts.sites import find_sites
from rnpc.passes.facts.view import is_onnx, node_name, opset
from rnpc.passes.wire import external
from rnpc.passes.wire import walk as wire
from rnpc.program import Program

OPSETS = range(7, 27)
EXPORT = "give a model.onnx as torch.onnx.export writes it"


def load(path: str | Path, output: str | None = None, study: bool = True) -> Program:
    """Read a classifier from an ONNX file.

    `output` names the graph output that carries the scores. `source` are the file's bytes, or, where it has external data, those of the
    self-contained file made of it (a note says so); `sha256` is over them. Raises InputRefused, in one line, for whatever is no image
    classifier, and with `study` for one that cannot be hardened (`intake.check`); UsageError for an unknown `output`.
    """
    path = Path(path)
    return program(path.name, read(path), path.parent, output, study)


def program(name: str, data: bytes, folder: Path | None = None, output: str | None = None, study: bool = True) -> Program:
    """The Program of serialized ONNX `data`; `folder` is where its external data may lie."""
    model = parse(data, name)
    check_opset(model, name)
    check_nodes(model, name)
    notes: list[str] = []
    if folder is not None:
        data, edits = external.inline(data, folder, name)
        if edits:
            sources = sorted({edit["file"] for edit in edits})
            notes.append(f"external data inlined: {len(edits)} tensors of {', '.join(sources)}; the digest is of the self-contained model")
            model = parse(data, name)
    shown = signature.infer(model, name, output)
    if study:
        intake.check(model, name, shown.output)
    notes += intake.warnings(model)
    digest = hashlib.sha256(data).hexdigest()
    return Program(name, data, model, digest, shown, find_sites(model), labels(model, shown.classes), None, tuple(notes))


def read(path: Path) -> bytes:
    """The file's bytes. Raises InputRefused for no file, a directory, an empty file, or one that may not be read."""
    found = files.kind(path)
    if found is None:
        raise InputRefused("no such file", where=str(path), todo="check the path")
    if found != "file":
        raise InputRefused(f"a {'directory' if found == 'folder' else 'device'}, not a model file", where=str(path), todo=EXPORT)
    try:
        data = path.read_bytes()
    except OSError as error:
        raise files.unreadable(str(path), error) from error
    if not data:
        raise InputRefused("an empty file", where=path.name, todo=EXPORT)
    return data


def parse(data: bytes, name: str) -> ModelProto:
    """The model in `data`. Raises InputRefused for what is no ONNX, or a part of it."""
    try:
        walked = wire.graph(data)
        model = onnx.load_model_from_string(data)
    except (wire.WireError, DecodeError, RecursionError) as error:
        what = "truncated or damaged ONNX file" if looks_like_onnx(data) else "not an ONNX file"
        raise InputRefused(what, where=name, todo=EXPORT) from error
    if not model.graph.node:
        raise InputRefused("the model has no nodes", where=name, todo=EXPORT)
    doubled = [tensor.name for tensor in walked.tensors.values() if tensor.copies]
    if doubled:
        raise InputRefused(f"tensor {doubled[0]} has two copies of its data", where=name, todo="export the model again")
    return model


def looks_like_onnx(data: bytes) -> bool:
    """Whether the bytes begin like a ModelProto: ir_version (field 1, a small number), then another field of a ModelProto."""
    return len(data) > 2 and data[0] == 0x08 and data[1] < 0x40 and data[2] in (0x12, 0x1A, 0x22, 0x28, 0x32, 0x3A, 0x42, 0x72)


def check_opset(model: ModelProto, name: str) -> None:
    """Raise InputRefused for a default operator set outside 7 to 26."""
    version = opset(model)
    if version not in OPSETS:
        raise InputRefused(f"opset {version} is not supported", where=name, todo=f"export with opset {OPSETS[0]} to {OPSETS[-1]}")


def check_nodes(model: ModelProto, name: str) -> None:
    """Raise InputRefused for a node of the default set with fewer inputs or outputs than its operator has."""
    version = opset(model)
    for node in model.graph.node:
        if not is_onnx(node) or not onnx.defs.has(node.op_type, version, ""):
            continue
        schema = onnx.defs.get_schema(node.op_type, version, "")
        for what, found, least in (("inputs", len(node.input), schema.min_input), ("outputs", len(node.output), schema.min_output)):
            if found < least:
                broken = f"node {node_name(node)} ({node.op_type}) has {found} {what}, at least {least} are needed"
                raise InputRefused(broken, where=name, todo=EXPORT)


def labels(model: ModelProto, classes: int) -> tuple[str, ...] | None:
    """Class names from the metadata, where there is one for each class."""
    entries = {entry.key: entry.value for entry in model.metadata_props}
    for key in ("names", "labels", "classes", "class_names", "id2label"):
        found = names(entries[key]) if key in entries else None
        if found is not None and len(found) == classes:
            return found
    return None


def names(text: str) -> tuple[str, ...] | None:
    """Names from JSON or a Python literal: a list, or a mapping from index to name; else lines or comma-separated text."""
    value: object = None
    for reader in (json.loads, ast.literal_eval):
        with contextlib.suppress(ValueError, SyntaxError, RecursionError, MemoryError):
            value = reader(text)
            break
    if isinstance(value, dict):
        with contextlib.suppress(ValueError, TypeError):
            order = sorted((int(index), str(name)) for index, name in value.items())
            return tuple(name for _, name in order) if [k for k, _ in order] == list(range(len(order))) else None
        return None
    if isinstance(value, list | tuple):
        return tuple(str(name) for name in value)
    return tuple(part.strip() for part in text.replace("\n", ",").split(",") if part.strip()) if value is None else None
