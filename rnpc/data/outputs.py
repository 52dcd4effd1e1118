"""The names of a model's outputs: labels.json or labels.txt beside it, config.json's id2label or label_names, or its own metadata."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from rnpc.data.config import read_json
from rnpc.errors import InputRefused


def find(folder: Path | None, labels: tuple[str, ...] | None, outputs: int) -> tuple[tuple[str, ...], str] | None:
    """One name an output, and where they come from; `labels` are those that the model itself carries.

    Raises InputRefused where a file names another number of classes.
    """
    readers = [] if folder is None else [from_labels_json(folder), from_labels_txt(folder), from_config(folder)]
    for names_and_source in readers:
        if names_and_source is None:
            continue
        names, source = names_and_source
        if len(names) != outputs:
            todo = "give the labels of this model, or move the file away"
            raise InputRefused(f"names {len(names)} classes, the model has {outputs} outputs", where=source, todo=todo)
        return names, Path(source).name
    return None if labels is None else (labels, "metadata")


def from_labels_json(folder: Path) -> tuple[tuple[str, ...], str] | None:
    """A list of names, or a mapping from index to name or from name to index."""
    path = folder / "labels.json"
    if not path.is_file():
        return None
    try:
        return as_names(json.loads(path.read_text(encoding="utf-8"))), str(path)
    except (OSError, ValueError, TypeError) as error:
        raise InputRefused(f"cannot be read as labels ({error})", where=str(path), todo="write a list of names in output order") from error


def from_labels_txt(folder: Path) -> tuple[tuple[str, ...], str] | None:
    """One name a line."""
    path = folder / "labels.txt"
    if not path.is_file():
        return None
    try:
        return tuple(line.strip() for line in path.read_text(encoding="utf-8").splitlines() if line.strip()), str(path)
    except (OSError, ValueError) as error:
        raise InputRefused(f"cannot be read as text ({error})", where=str(path), todo="write one name a line") from error


def from_config(folder: Path) -> tuple[tuple[str, ...], str] | None:
    """id2label (transformers) or label_names (timm); transformers' placeholders LABEL_0, LABEL_1 name nothing."""
    path = folder / "config.json"
    if not path.is_file():
        return None
    raw = read_json(path)
    inner = raw.get("pretrained_cfg")
    stated = raw.get("id2label") or raw.get("label_names") or (inner.get("label_names") if isinstance(inner, dict) else None)
    try:
        names = as_names(stated) if stated else ()
    except (ValueError, TypeError) as error:
        raise InputRefused(f"its labels are not understood ({error})", where=str(path), todo="repair id2label") from error
    if not names or all(name == f"LABEL_{i}" for i, name in enumerate(names)):
        return None
    return names, str(path)


def as_names(raw: Any) -> tuple[str, ...]:
    """Names in output order. Raises ValueError or TypeError."""
    if isinstance(raw, list):
        return tuple(str(name) for name in raw)
    if not isinstance(raw, dict):
        raise TypeError("expected a list or a mapping")
    if raw and all(isinstance(value, int) for value in raw.values()):
        raw = {index: name for name, index in raw.items()}
    by_index = {int(index): str(name) for index, name in raw.items()}
    if sorted(by_index) != list(range(len(by_index))):
        raise ValueError("indices are not 0, 1, 2, ...")
    return tuple(by_index[i] for i in range(len(by_index)))
