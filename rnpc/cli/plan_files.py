"""What `apply` and `verify` read: a model, a plan, new tensors; and what both say of a plan."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rnpc import files
from rnpc.errors import InputRefused
from rnpc.frontends import onnx_file
from rnpc.passes.facts.sites import find_sites
from rnpc.passes.rewrite import by_hand, tensor_file
from rnpc.passes.wire import external
from rnpc.plan import Plan
from rnpc.program import FilterSite

if TYPE_CHECKING:
    import numpy as np


@dataclass(frozen=True)
class ModelFile:
    """A model's bytes: `raw` as in the file, `data` with external data brought in, which is what digests and plans are about."""

    path: Path
    raw: bytes
    data: bytes
    sites: tuple[FilterSite, ...]
    notes: tuple[str, ...]

    @property
    def sha256(self) -> str:
        """Digest of the self-contained bytes."""
        return hashlib.sha256(self.data).hexdigest()


def read_model(path: Path) -> ModelFile:
    """Read an ONNX file with its external data. Raises InputRefused."""
    raw = read_bytes(path)
    data, edits = inlined(raw, path)
    model = onnx_file.parse(data, path.name)
    onnx_file.check_opset(model, path.name)
    said = f"external data brought in ({len(edits)} tensors); the digest is of the self-contained model"
    return ModelFile(path, raw, data, find_sites(model), (said,) if edits else ())


def inlined(raw: bytes, path: Path) -> tuple[bytes, list[dict[str, Any]]]:
    """The self-contained model of a file's bytes, and what was brought in."""
    onnx_file.parse(raw, path.name)
    return external.inline(raw, path.parent, path.name)


def read_bytes(path: Path) -> bytes:
    """A model file's bytes. Raises InputRefused for no file and for one that is too large."""
    if files.kind(path) == "file":
        external.check_size(path.stat().st_size, path.name)
    return onnx_file.read(path)


def read_plan(path: Path, model: ModelFile) -> Plan:
    """A plan file, in full or by hand. Raises InputRefused."""
    return by_hand.read_plan(text(path), model.data, model.sites, path.name)


def read_weights(path: Path | None) -> dict[str, np.ndarray] | None:
    """A safetensors file; None without one. Raises InputRefused."""
    return None if path is None else tensor_file.load(content(path, "a safetensors file"), path.name)


def text(path: Path) -> str:
    """A file's text. Raises InputRefused."""
    try:
        return content(path, "a plan").decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputRefused("no text", where=str(path), todo="give a plan as JSON") from error


def content(path: Path, what: str) -> bytes:
    """A file's bytes. Raises InputRefused where there is none, or it is not to be read."""
    if files.kind(path) == "folder":
        raise InputRefused("a folder, not a file", where=str(path), todo=f"give {what}")
    if files.kind(path) != "file":
        raise InputRefused("no such file", where=str(path), todo=f"give {what}")
    try:
        return path.read_bytes()
    except OSError as error:
        raise files.unreadable(str(path), error) from error


@contextmanager
def called(names: Mapping[str, Path | None]) -> Iterator[None]:
    """An error inside that says `plan`, `model` or the like, as the passes do, says the user's name for that file instead."""
    try:
        yield
    except InputRefused as error:
        path = names.get(error.where or "")
        error.where = error.where if path is None else path.name
        raise


def plan_json(plan: Plan) -> dict[str, Any]:
    """What a document says of a plan."""
    return {
        "method": plan.method,
        "seed": plan.seed,
        "rewrite": plan.rewrite,
        "original": plan.original,
        "mode": None if plan.silence is None else plan.silence.mode,
        "sites": {entry.site: list(entry.channels) for entry in plan.sites},
        "channels": plan.channels,
        "tensors": [] if plan.weights is None else [entry.tensor for entry in plan.weights.tensors],
    }


def plan_text(plan: Plan, kept: int = 0) -> str:
    """The edits of a plan in a few words; `kept` channels were to be removed and stay, zeroed."""
    parts = []
    if plan.silence is not None:
        done = "removed" if plan.silence.mode == "remove" else "zeroed"
        parts.append(f"{counted(plan.channels - kept, 'channel')} of {counted(len(plan.sites), 'site')} {done}")
        parts += [f"{kept} more zeroed"] if kept else []
    if plan.weights is not None:
        parts.append(f"{counted(len(plan.weights.tensors), 'tensor')} retrained")
    return ", ".join(parts) or "no edits"


def counted(n: int, noun: str) -> str:
    """`1 channel`, `2 channels`."""
    return f"{n} {noun}{'' if n == 1 else 's'}"
