"""The data sets that victims are trained on, decoded once to uint8 arrays and kept in a cache.

A data set is found by name under a data root that the user fills; nothing is downloaded. Decoding tens of thousands of small files
takes longer than an epoch, so the arrays are cached under `$XDG_CACHE_HOME/rnpc` (or `~/.cache/rnpc`), keyed by the names and sizes of
all files read, and memory-mapped from there. A new data set is one file with a `SOURCE` and one line in `SOURCES`.
"""

from __future__ import annotations

import hashlib
import importlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from rnpc.errors import InputRefused, UsageError
from rnpc.files import unreadable

SOURCES = {"gtsrb": "rnpc.data.gtsrb", "cifar10": "rnpc.data.cifar10", "mnist": "rnpc.data.mnist"}
ARRAYS = ("train_images", "train_labels", "test_images", "test_labels")
LAYOUT = "1"
"""Changes when the decoding of any data set does, so that old caches are left alone."""


@dataclass(frozen=True)
class Dataset:
    """uint8 images [n, H, W, C] and int64 labels [n] of both splits; `mean` and `std` per channel for images in [0, 1]; `flip` tells
    whether a mirrored image keeps its label. `digest` is the cache key: sha256 over the names and sizes of the files read."""

    name: str
    train_images: np.ndarray
    train_labels: np.ndarray
    test_images: np.ndarray
    test_labels: np.ndarray
    classes: tuple[str, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    flip: bool
    digest: str

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, height, width of an image."""
        height, width, channels = self.train_images.shape[1:]
        return channels, height, width


@dataclass(frozen=True)
class Source:
    """How one data set is read. `find` lists its files below a root, or raises; `decode` reads them into the four arrays of `ARRAYS`."""

    find: Callable[[Path | None], list[Path]]
    decode: Callable[[Path | None], tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]]
    classes: tuple[str, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    flip: bool


def names() -> tuple[str, ...]:
    """The names that `load` knows."""
    return tuple(SOURCES)


def load(name: str, root: Path | None, *, cache: Path | None = None) -> Dataset:
    """The data set under `root`, from the cache where it was decoded before.

    Raises UsageError for an unknown name, InputRefused where `root` does not hold the data set (saying where to get it).
    """
    if name not in SOURCES:
        raise UsageError("no such data set", where=name, todo=f"choose one of {', '.join(names())}")
    source: Source = importlib.import_module(SOURCES[name]).SOURCE
    try:
        digest = digest_of(name, source.find(root), root)
    except OSError as error:
        raise unreadable(str(error.filename or root), error) from error
    folder = (cache or cache_home()) / "datasets" / f"{name}-{digest[:16]}"
    arrays = read(folder) or write(folder, source.decode(root))
    train_images, train_labels, test_images, test_labels = arrays
    return Dataset(name, train_images, train_labels, test_images, test_labels, source.classes, source.mean, source.std, source.flip, digest)


def cache_home() -> Path:
    """Where rnpc keeps what it can make again."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "rnpc"


def digest_of(name: str, files: Iterable[Path], root: Path | None) -> str:
    """sha256 over the sorted names (relative to the root) and sizes of the files."""
    entries = sorted((str(f.relative_to(root)) if root and f.is_relative_to(root) else f.name, f.stat().st_size) for f in files)
    return hashlib.sha256(json.dumps([LAYOUT, name, entries]).encode()).hexdigest()


def read(folder: Path) -> tuple[np.ndarray, ...] | None:
    """The cached arrays, memory-mapped; None where there are none or they are damaged."""
    try:
        return tuple(np.load(folder / f"{key}.npy", mmap_mode="r") for key in ARRAYS)
    except (OSError, ValueError, EOFError):
        return None


def write(folder: Path, arrays: tuple[np.ndarray, ...]) -> tuple[np.ndarray, ...]:
    """Cache the arrays, complete or not at all. A cache that cannot be written is no error: the arrays are there."""
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        scratch = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    except OSError:
        return arrays
    try:
        for key, array in zip(ARRAYS, arrays, strict=True):
            np.save(scratch / f"{key}.npy", array)
        shutil.rmtree(folder, ignore_errors=True)
        scratch.rename(folder)
    except OSError:
        shutil.rmtree(scratch, ignore_errors=True)
    return arrays


def missing(name: str, root: Path | None, expected: str, home: str) -> InputRefused:
    """The error for a data root that does not hold a data set."""
    if root is None:
        todo = f"name the folder that holds {expected} with --data-root; it is to be had from {home}"
        return InputRefused("no data root given", where=name, todo=todo)
    return InputRefused(f"{name} is not there: expected {expected}", where=str(root), todo=f"get it from {home}")
