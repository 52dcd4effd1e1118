"""The data sets that victims are trained on, decoded once to uint8 arrays and kept in a cache.

A data set is found by name under a data root that the user fills; nothing is downloaded. Decoding tens of thousands of small files
takes longer than an epoch, so the arrays are cached under `$XDG_CACHE_HOME/rnpc` (or `~/.cache/rnpc`), keyed by the contents of all files
read and the version of the decoder, and memory-mapped from there. A new data set is one file with a `SOURCE` and one line in `SOURCES`.
"""

from __future__ import annotations

import importlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import __version__ as decoder

from rnpc.data import contents
from rnpc.errors import InputRefused, UsageError
from rnpc.files import unreadable
from rnpc.program import Preprocessing

SOURCES = {
    "gtsrb": "rnpc.data.gtsrb:SOURCE",
    "cifar10": "rnpc.data.cifar10:SOURCE",
    "mnist": "rnpc.data.mnist:SOURCE",
    "imagenette": "rnpc.data.imagenette:SOURCE",
    "imagenette224": "rnpc.data.imagenette:LARGE",
}
ARRAYS = ("train_images", "train_labels", "test_images", "test_labels")
LAYOUT = "2"
"""Changes when the decoding of any data set does, so that old caches are left alone."""
Arrays = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]


@dataclass(frozen=True)
class Dataset:
    """uint8 images [n, H, W, C] and int64 labels [n] of both splits; `mean` and `std` per channel for images in [0, 1]; `flip` tells
    whether a mirrored image keeps its label. `digest`: sha256 over the four arrays, so that one set has one digest on every machine."""

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

    @property
    def preprocessing(self) -> Preprocessing:
        """How a victim of this data set reads its images."""
        _, height, width = self.shape
        return Preprocessing(height, width, mean=self.mean, std=self.std)


@dataclass(frozen=True)
class Source:
    """How one data set is read. `find` lists its files below a root, or raises; `decode` reads them into the four arrays of `ARRAYS`."""

    find: Callable[[Path | None], list[Path]]
    decode: Callable[[Path | None], Arrays]
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
    module, _, attribute = SOURCES[name].partition(":")
    source: Source = getattr(importlib.import_module(module), attribute)
    place = (cache or cache_home()) / "datasets"
    try:
        key = contents.of_files(source.find(root), root, place, f"{LAYOUT} {name} {decoder}")
    except OSError as error:
        raise unreadable(str(error.filename or root), error) from error
    folder = place / f"{name}-{key[:16]}"
    arrays, digest = read(folder) or write(folder, source.decode(root))
    return Dataset(name, *arrays, source.classes, source.mean, source.std, source.flip, digest)


def cache_home() -> Path:
    """Where rnpc keeps what it can make again."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "rnpc"


def read(folder: Path) -> tuple[Arrays, str] | None:
    """The cached arrays, memory-mapped, and their digest; None where there are none or they are damaged."""
    try:
        a, b, c, d = (np.load(folder / f"{key}.npy", mmap_mode="r") for key in ARRAYS)
        return (a, b, c, d), str(json.loads((folder / "digest.json").read_text())["sha256"])
    except (OSError, ValueError, EOFError, KeyError, TypeError):
        return None


def write(folder: Path, arrays: Arrays) -> tuple[Arrays, str]:
    """Cache the arrays, complete or not at all, and map what was written. Where that cannot be, the arrays are there."""
    digest = contents.of_arrays(arrays)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        scratch = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    except OSError:
        return arrays, digest
    try:
        for key, array in zip(ARRAYS, arrays, strict=True):
            np.save(scratch / f"{key}.npy", array)
        (scratch / "digest.json").write_text(json.dumps({"sha256": digest}))
        shutil.rmtree(folder, ignore_errors=True)
        scratch.rename(folder)
    except OSError:
        shutil.rmtree(scratch, ignore_errors=True)
    return read(folder) or (arrays, digest)


def missing(name: str, root: Path | None, expected: str, home: str) -> InputRefused:
    """The error for a data root that does not hold a data set."""
    if root is None:
        todo = f"name the folder that holds {expected} with --data-root; it is to be had from {home}"
        return InputRefused("no data root given", where=name, todo=todo)
    return InputRefused(f"{name} is not there: expected {expected}", where=str(root), todo=f"get it from {home}")
