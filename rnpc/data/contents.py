"""Digests of what files hold, without reading again what has not changed.

A name and a size say nothing of a file's content, and reading tens of thousands of files for each process of a bench takes minutes. So a
content's digest is kept under the signature of the files (name, size, times of the last change of content and of inode): only where that
differs is anything read. A file that was replaced by one of the same size and age still has another inode time.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np

from rnpc import files
from rnpc.errors import SurroundingsError

CHUNK = 1 << 22


def of_file(path: Path) -> str:
    """sha256 of a file's content, in this process read once a change. Raises OSError."""
    state = path.stat()
    return _of_file(str(path), state.st_size, state.st_mtime_ns, state.st_ctime_ns)


@lru_cache(maxsize=4096)
def _of_file(path: str, size: int, modified: int, changed: int) -> str:
    """sha256 of a file in the state that the other arguments tell."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def of_files(paths: Sequence[Path], root: Path | None, sidecar: Path, salt: str = "") -> str:
    """sha256 over the names (relative to `root`) and contents of files, in their order; `salt` counts too.

    Kept in the folder `sidecar`, which need not be writable. Raises OSError where a file cannot be read.
    """
    names = [str(path.relative_to(root)) if root and path.is_relative_to(root) else path.name for path in paths]
    kept = sidecar / f"{signature(paths, salt)}.sha256"
    try:
        return kept.read_text()
    except OSError:
        pass
    sha = hashlib.sha256(salt.encode())
    for name, path in zip(names, paths, strict=True):
        sha.update(f"\n{name}\n{path.stat().st_size}\n".encode())
        with path.open("rb") as file:
            while chunk := file.read(CHUNK):
                sha.update(chunk)
    keep(kept, sha.hexdigest())
    return sha.hexdigest()


def signature(paths: Iterable[Path], salt: str) -> str:
    """sha256 over places, sizes and times."""
    sha = hashlib.sha256(salt.encode())
    for path in paths:
        state = os.stat(path)
        sha.update(f"{os.path.abspath(path)}\n{state.st_size} {state.st_mtime_ns} {state.st_ctime_ns}\n".encode())
    return sha.hexdigest()


def keep(place: Path, text: str) -> None:
    """Write a digest down where that is possible."""
    try:
        files.write(files.make_folder(place.parent) / place.name, text.encode())
    except SurroundingsError:
        return


def of_arrays(arrays: Iterable[np.ndarray]) -> str:
    """sha256 over types, shapes and elements; a memory-mapped array is read in parts."""
    sha = hashlib.sha256()
    for array in arrays:
        sha.update(f"{array.dtype.str} {array.shape}\n".encode())
        step = max(1, CHUNK // max(1, array[:1].nbytes))
        for first in range(0, len(array), step):
            sha.update(np.ascontiguousarray(array[first : first + step]).data)
    return sha.hexdigest()
