"""CIFAR-10: ten classes, 50,000 training and 10,000 test images of 32 x 32 pixels (fewer, where the folders hold fewer).

Read from what is there, in this order: image folders `cifar10/train/CLASS/*.png` and `cifar10/test/CLASS/*.png`, the official
binary version (`cifar-10-batches-bin/` or `cifar-10-binary.tar.gz`), the official Python version (`cifar-10-batches-py/` or
`cifar-10-python.tar.gz`). The Python version is pickled; it is read by an unpickler that knows numpy arrays and nothing else.
Source: Krizhevsky, "Learning multiple layers of features from tiny images" (2009).
"""

from __future__ import annotations

import io
import pickle
import tarfile
from pathlib import Path
from typing import Any

import numpy as np

from rnpc.data import datasets
from rnpc.data.datasets import Source, missing
from rnpc.data.stack import images, listed
from rnpc.errors import InputRefused
from rnpc.program import Preprocessing

SIZE = 32
HOME = "https://www.cs.toronto.edu/~kriz/cifar.html"
CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
BINARY = (tuple(f"data_batch_{i}.bin" for i in range(1, 6)), ("test_batch.bin",))
PICKLED = (tuple(f"data_batch_{i}" for i in range(1, 6)), ("test_batch",))
ARCHIVES = {"cifar-10-batches-bin": "cifar-10-binary.tar.gz", "cifar-10-batches-py": "cifar-10-python.tar.gz"}
ALLOWED = {
    ("numpy", "ndarray"),
    ("numpy", "dtype"),
    ("numpy.core.multiarray", "_reconstruct"),
    ("numpy._core.multiarray", "_reconstruct"),
    ("_codecs", "encode"),  # how Python 3 writes bytes for old protocols
}


def places(root: Path | None) -> list[Path]:
    """Folders in which the data set may lie."""
    return [p for p in (root / "cifar10", root) if p.is_dir()] if root else []


def folders(root: Path | None) -> Path | None:
    """The folder that holds train/CLASS and test/CLASS."""
    whole = [p for p in places(root) if all((p / split / name).is_dir() for split in ("train", "test") for name in CLASSES)]
    return whole[0] if whole else None


def official(root: Path | None) -> tuple[str, Path] | None:
    """(name of the version's folder, that folder or its archive)."""
    for kind, archive in ARCHIVES.items():
        for place in [q for p in places(root) for q in (p / kind, p / archive)]:
            if place.exists():
                return kind, place
        if root and root.name == kind and root.is_dir():
            return kind, root
    return None


def find(root: Path | None) -> list[Path]:
    """All files that `decode` reads."""
    tree, version = folders(root), official(root)
    if tree:
        return [f for split in ("train", "test") for name in CLASSES for f in listed(tree / split / name)]
    if version is None:
        raise missing("cifar10", root, "cifar10/train/CLASS and cifar10/test/CLASS, or the official archive", HOME)
    kind, place = version
    return [place] if place.is_file() else [place / name for name in members(kind) if (place / name).is_file()]


def decode(root: Path | None) -> datasets.Arrays:
    """The four arrays of the data set."""
    tree, version = folders(root), official(root)
    if tree:
        return (*from_folders(tree / "train"), *from_folders(tree / "test"))
    if version is None:
        raise missing("cifar10", root, "cifar10/train/CLASS and cifar10/test/CLASS, or the official archive", HOME)
    kind, place = version
    files = from_archive(place, members(kind)) if place.is_file() else from_folder(place, members(kind))
    parse = parse_binary if kind.endswith("bin") else parse_pickle
    parts = [parse(files[name], str(place)) for name in members(kind)]
    train, test = parts[:-1], parts[-1]
    return np.concatenate([p[0] for p in train]), np.concatenate([p[1] for p in train]), *test


def members(kind: str) -> tuple[str, ...]:
    """Files of a version: five training batches, then the test batch."""
    train, test = BINARY if kind.endswith("bin") else PICKLED
    return (*train, *test)


def from_folders(split: Path) -> tuple[np.ndarray, np.ndarray]:
    """Images and labels of one split that has a folder for each class."""
    groups = [listed(split / name) for name in CLASSES]
    if not all(groups):
        raise InputRefused("class folder is empty", where=str(split / CLASSES[groups.index([])]), todo=f"get it from {HOME}")
    labels = np.concatenate([np.full(len(files), label, np.int64) for label, files in enumerate(groups)])
    return images([f for files in groups for f in files], Preprocessing(SIZE, SIZE)), labels


def from_folder(place: Path, names: tuple[str, ...]) -> dict[str, bytes]:
    """Contents of the version's files in a folder."""
    lacking = [name for name in names if not (place / name).is_file()]
    if lacking:
        raise InputRefused(f"{lacking[0]} is missing", where=str(place), todo=f"get it from {HOME}")
    return {name: (place / name).read_bytes() for name in names}


def from_archive(place: Path, names: tuple[str, ...]) -> dict[str, bytes]:
    """Contents of the version's files in its archive; nothing is unpacked to disk."""
    files: dict[str, bytes] = {}
    try:
        with tarfile.open(place) as archive:
            for member in archive:
                file = archive.extractfile(member) if Path(member.name).name in names else None
                if file:
                    files[Path(member.name).name] = file.read()
    except (tarfile.TarError, EOFError, OSError) as error:
        raise InputRefused(f"not a whole archive ({error})", where=str(place), todo=f"get it from {HOME}") from error
    if set(files) != set(names):
        raise InputRefused(f"{sorted(set(names) - set(files))[0]} is missing", where=str(place), todo=f"get it from {HOME}")
    return files


def parse_binary(data: bytes, where: str) -> tuple[np.ndarray, np.ndarray]:
    """Records of one label byte and 3,072 pixel bytes, plane by plane."""
    record = 1 + 3 * SIZE * SIZE
    if not data or len(data) % record:
        raise InputRefused(f"a batch of {len(data)} bytes is not a multiple of {record}", where=where, todo=f"get it from {HOME}")
    rows = np.frombuffer(data, np.uint8).reshape(-1, record)
    return planes(rows[:, 1:]), rows[:, 0].astype(np.int64)


def parse_pickle(data: bytes, where: str) -> tuple[np.ndarray, np.ndarray]:
    """A pickled dict with `data` [n, 3072] and `labels`. Raises InputRefused for a pickle that holds anything else."""
    try:
        content = Arrays(io.BytesIO(data), encoding="bytes").load()
        return planes(np.asarray(content[b"data"], np.uint8)), np.asarray(content[b"labels"], np.int64)
    except (pickle.UnpicklingError, EOFError, KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
        raise InputRefused(f"not a batch of CIFAR-10 ({error})", where=where, todo=f"get it from {HOME}") from error


def planes(rows: np.ndarray) -> np.ndarray:
    """[n, 3072] plane by plane -> [n, 32, 32, 3]."""
    return np.ascontiguousarray(rows.reshape(-1, 3, SIZE, SIZE).transpose(0, 2, 3, 1))


class Arrays(pickle.Unpickler):
    """Unpickles numpy arrays in plain containers and refuses every other name."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in ALLOWED:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}")
        return super().find_class(module.replace("numpy.core", "numpy._core"), name)


SOURCE = Source(find, decode, CLASSES, (0.4914, 0.4822, 0.4465), (0.2471, 0.2435, 0.2616), flip=True)
