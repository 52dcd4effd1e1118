"""CIFAR-10 in its three layouts, and what does not hold it."""

from __future__ import annotations

import io
import pickle
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from rnpc.data import cifar10, datasets
from rnpc.errors import InputRefused


def batch(seed: int) -> tuple[np.ndarray, list[int]]:
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (4, 3072), dtype=np.uint8), [int(v) for v in rng.integers(0, 10, 4)]


def binary(root: Path) -> None:
    folder = root / "cifar-10-batches-bin"
    folder.mkdir(parents=True)
    for seed, name in enumerate(cifar10.members("cifar-10-batches-bin")):
        pixels, labels = batch(seed)
        (folder / name).write_bytes(np.concatenate([np.array(labels, np.uint8)[:, None], pixels], axis=1).tobytes())


def pickled(root: Path) -> None:
    root.mkdir(parents=True)
    with tarfile.open(root / "cifar-10-python.tar.gz", "w:gz") as archive:
        for seed, name in enumerate(cifar10.members("cifar-10-batches-py")):
            pixels, labels = batch(seed)
            content = pickle.dumps({b"data": pixels, b"labels": labels}, protocol=2)
            member = tarfile.TarInfo(f"cifar-10-batches-py/{name}")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))


@pytest.mark.parametrize("make", [binary, pickled])
def test_cifar10_official(make: object, tmp_path: Path) -> None:
    assert callable(make)
    make(tmp_path / "root" / "cifar10")
    data = datasets.load("cifar10", tmp_path / "root", cache=tmp_path / "cache")
    pixels, labels = batch(1)
    assert data.train_images.shape == (20, 32, 32, 3) and data.test_images.shape == (4, 32, 32, 3) and data.flip
    assert np.array_equal(data.train_images[4], pixels[0].reshape(3, 32, 32).transpose(1, 2, 0))
    assert data.train_labels[4:8].tolist() == labels and data.test_labels.tolist() == batch(5)[1]


def test_cifar10_folders(tmp_path: Path, save_picture: Callable[..., np.ndarray]) -> None:
    for split in ("train", "test"):
        for name in cifar10.CLASSES:
            pixels = save_picture(tmp_path / "root" / split / name / "0001.png")
    data = datasets.load("cifar10", tmp_path / "root", cache=tmp_path / "cache")
    assert data.train_labels.tolist() == list(range(10)) and np.array_equal(data.test_images[9], pixels)


def test_pickle_that_is_more_than_arrays_is_refused() -> None:
    with pytest.raises(InputRefused, match=r"it asks for .*system"):
        cifar10.parse_pickle(b"cos\nsystem\n(S'true'\ntR.", "somewhere")


@pytest.mark.parametrize("content", [b"", b"x" * 3000])
def test_truncated_batch(content: bytes) -> None:
    with pytest.raises(InputRefused, match="not a multiple"):
        cifar10.parse_binary(content, "somewhere")


def test_broken_archive(tmp_path: Path) -> None:
    (tmp_path / "cifar-10-binary.tar.gz").write_bytes(b"\x1f\x8b broken")
    with pytest.raises(InputRefused, match="not a whole archive"):
        cifar10.decode(tmp_path)
