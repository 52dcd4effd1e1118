"""What lies in a data folder: the image files and the class name of each, before anything is decoded.

Looked for in this order: a table beside the images (`metadata.csv`, `metadata.jsonl`, or any one csv with a file and a label
column, as GTSRB is released), class sub-folders, a flat folder. Everything is in the order of names, not of the file system.
"""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path, PurePosixPath
from typing import Any

from rnpc.data.imagefile import SUFFIXES
from rnpc.errors import InputRefused
from rnpc.files import kind

FILE_COLUMNS = ("file_name", "filename", "file", "path", "image")
LABEL_COLUMNS = ("label", "labels", "classid", "class_id", "class", "class_name", "target")


@dataclass(frozen=True)
class Listing:
    """Files in order and, where the folder says so, the class name of each. `kind` is "table NAME", "class folders" or "flat folder"."""

    kind: str
    files: tuple[Path, ...]
    names: tuple[str, ...]
    labels: tuple[str, ...] | None


def find(root: Path) -> Listing:
    """The images under `root`. Raises InputRefused where there are none or where a table contradicts the folder."""
    table = find_table(root)
    if table is not None:
        return from_table(root, table)
    folders = sorted(d for d in visible(root) if kind(d) == "folder")
    classes = [(d.name, images_below(d)) for d in folders]
    if any(files for _, files in classes):
        return from_folders(root, classes)
    flat = images_below(root)
    if not flat:
        raise InputRefused("no images in this folder", where=str(root), todo=f"images end in {', '.join(sorted(SUFFIXES))}")
    return Listing("flat folder", tuple(flat), relative(root, flat), None)


def from_folders(root: Path, classes: list[tuple[str, list[Path]]]) -> Listing:
    """Sub-folders are classes. Images beside them would have no class: refused, since leaving them out would be silent."""
    loose = [f for f in visible(root) if f.suffix.lower() in SUFFIXES and kind(f) == "file"]
    if loose:
        what = f"{len(loose)} images lie beside the class folders ({loose[0].name}, ...)"
        raise InputRefused(what, where=str(root), todo="move them into class folders or list all in metadata.csv")
    pairs = [(file, name) for name, files in classes for file in files]
    files = [file for file, _ in pairs]
    return Listing("class folders", tuple(files), relative(root, files), tuple(name for _, name in pairs))


def find_table(root: Path) -> Path | None:
    """metadata.csv or metadata.jsonl, else the only csv with a file and a label column whose first file is there."""
    for name in ("metadata.csv", "metadata.jsonl"):
        if kind(root / name) == "file":
            return root / name
    tables = [f for f in visible(root) if f.suffix.lower() == ".csv" and kind(f) == "file" and belongs(root, read_rows(f))]
    if len(tables) > 1:
        listed = ", ".join(t.name for t in tables)
        raise InputRefused(f"several tables of labels: {listed}", where=str(root), todo="rename the one that counts to metadata.csv")
    return tables[0] if tables else None


def belongs(root: Path, rows: list[dict[str, Any]]) -> bool:
    """Whether a csv without a telling name lists images of this folder."""
    named = columns(rows)
    return named is not None and place(root, PurePosixPath(str(rows[0][named[0]]))) is not None


def from_table(root: Path, table: Path) -> Listing:
    """Files and labels by the table's rows, in the order of file names. Images that the table does not list are left out, as it says."""
    rows = read_rows(table)
    if not rows:
        raise InputRefused("the table has no rows", where=str(table), todo="it needs the columns file_name and label")
    named = columns(rows)
    file_column = named[0] if named else column(rows[0], FILE_COLUMNS)
    if file_column is None:
        todo = "name the image column file_name and the class column label"
        raise InputRefused(f"no column of file names among {', '.join(rows[0])}", where=str(table), todo=todo)
    label_column = named[1] if named else None
    entries = sorted((str(row.get(file_column, "")), "" if label_column is None else cell(row.get(label_column))) for row in rows)
    twice = next((a for (a, _), (b, _) in pairwise(entries) if a == b), None)
    if twice is not None:
        raise InputRefused(f"{twice} is listed twice", where=str(table), todo="keep one row an image")
    files = [locate(root, name, table) for name, _ in entries]
    labels = None if label_column is None else tuple(label for _, label in entries)
    if labels is not None and "" in labels:
        missing = entries[labels.index("")][0]
        raise InputRefused(f"{missing} has no label", where=str(table), todo="give every row a label, or drop the label column")
    return Listing(f"table {table.name}", tuple(files), tuple(name for name, _ in entries), labels)


def locate(root: Path, name: str, table: Path) -> Path:
    """The file that a row names: beside the table, or in a folder `Images` or `images` beside it. Rows may not lead out of `root`."""
    pure = PurePosixPath(name)
    if not name or pure.is_absolute() or ".." in pure.parts:
        what = f"the row {name!r} does not name a file in this folder"
        raise InputRefused(what, where=str(table), todo="use paths relative to the table")
    file = place(root, pure)
    if file is None:
        raise InputRefused(f"{name} is listed, but there is no such file", where=str(table), todo="remove the row or add the image")
    return file


def place(root: Path, name: PurePosixPath) -> Path | None:
    """The file of that name in the folder or its folder of images."""
    return next((folder / name for folder in (root, root / "Images", root / "images") if kind(folder / name) == "file"), None)


def read_rows(table: Path) -> list[dict[str, Any]]:
    """Rows of a csv (comma, semicolon or tab) or of JSON lines."""
    try:
        text = table.read_text(encoding="utf-8-sig")
        if table.suffix.lower() == ".jsonl":
            return json_rows(text.splitlines())
        head = text.split("\n", 1)[0]
        delimiter = max(",;\t", key=head.count)
        return [dict(row) for row in csv.DictReader(text.splitlines(), delimiter=delimiter)]
    except (OSError, ValueError, csv.Error) as error:
        raise InputRefused(f"cannot be read as a table ({error})", where=str(table), todo="write it as UTF-8 csv or JSON lines") from error


def json_rows(lines: Iterable[str]) -> list[dict[str, Any]]:
    """One JSON object a line."""
    rows = [json.loads(line) for line in lines if line.strip()]
    if not all(isinstance(row, dict) for row in rows):
        raise ValueError("a line is not a JSON object")
    return rows


def columns(rows: list[dict[str, Any]]) -> tuple[str, str] | None:
    """Names of the file and the label column, or None where either is missing."""
    if not rows:
        return None
    file, label = column(rows[0], FILE_COLUMNS), column(rows[0], LABEL_COLUMNS)
    return (file, label) if file is not None and label is not None else None


def column(row: Mapping[str, Any], known: tuple[str, ...]) -> str | None:
    """The first known column name, upper or lower case."""
    lower = {str(key).strip().lower(): str(key) for key in row}
    return next((lower[name] for name in known if name in lower), None)


def cell(value: Any) -> str:
    """A label as text; 3.0 becomes "3"."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return "" if value is None else str(value).strip()


def visible(folder: Path) -> list[Path]:
    """Entries of a folder in the order of their names, hidden ones left out. Raises InputRefused where it cannot be listed."""
    try:
        return sorted(entry for entry in folder.iterdir() if not entry.name.startswith("."))
    except OSError as error:
        raise InputRefused(f"cannot be listed ({error.strerror})", where=str(folder), todo="check the path and its permissions") from error


def images_below(folder: Path) -> list[Path]:
    """All image files below `folder`, sorted by relative path."""
    images: list[Path] = []
    for parent, folders, files in os.walk(folder):
        folders[:] = sorted(d for d in folders if not d.startswith("."))
        images += [Path(parent, f) for f in files if not f.startswith(".") and Path(f).suffix.lower() in SUFFIXES]
    return sorted(images, key=lambda f: f.relative_to(folder).as_posix())


def relative(root: Path, files: Iterable[Path]) -> tuple[str, ...]:
    """Names with forward slashes, relative to `root`."""
    return tuple(f.relative_to(root).as_posix() for f in files)
