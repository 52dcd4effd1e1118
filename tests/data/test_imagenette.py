"""Imagenette as folders and as the archive, at two sizes."""

from __future__ import annotations

import os
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from rnpc.data import datasets, imagenette
from rnpc.errors import InputRefused

Save = Callable[..., np.ndarray]
REAL = Path(__file__).parents[2].parent / "shared" / "data" / "imagenette160.tar"


@pytest.fixture
def photographs(tmp_path: Path, save_picture: Save) -> Path:
    """Two training images a class and one of validation, of 160 pixels."""
    root = tmp_path / "root"
    for wnid in imagenette.CLASSES:
        for split, names in (("train", ("b.png", "a.webp")), ("val", ("c.png",))):
            for name in names:
                save_picture(root / "imagenette160" / split / wnid / name, size=160)
    return root


def pack(root: Path) -> Path:
    """The same as an archive, its members in another order."""
    place = root.parent / "packed"
    place.mkdir()
    with tarfile.open(place / "imagenette160.tar", "w") as tar:
        for file in sorted((root / "imagenette160").rglob("*"), reverse=True):
            if file.is_file():
                tar.add(file, str(file.relative_to(root)))
    return place


def test_folders(photographs: Path, tmp_path: Path) -> None:
    data = datasets.load("imagenette", photographs, cache=tmp_path / "cache")
    assert data.train_images.shape == (20, 160, 160, 3) and data.train_images.dtype == np.uint8 and data.test_images.shape[0] == 10
    assert data.train_labels.tolist() == np.repeat(np.arange(10), 2).tolist() and data.classes[0] == "tench" and data.flip
    first = np.asarray(Image.open(photographs / "imagenette160/train/n01440764/b.png"))
    assert np.array_equal(data.train_images[1], first) and data.shape == (3, 160, 160)
    assert datasets.load("imagenette", photographs / "imagenette160", cache=tmp_path / "cache").digest == data.digest


def test_archive_and_folders_are_one_set(photographs: Path, tmp_path: Path) -> None:
    folders = datasets.load("imagenette", photographs, cache=tmp_path / "cache")
    assert datasets.load("imagenette", pack(photographs), cache=tmp_path / "cache").digest == folders.digest


def test_other_sizes_are_resized_by_the_short_side_and_cut(photographs: Path, tmp_path: Path) -> None:
    wide = np.zeros((50, 100, 3), np.uint8)
    wide[:, 25:75] = 200
    Image.fromarray(wide).save(photographs / "imagenette160/val/n01440764/c.png")
    data = datasets.load("imagenette224", photographs, cache=tmp_path / "cache")
    assert data.train_images.shape[1:] == (224, 224, 3) and data.preprocessing.height == 224
    assert np.all(data.test_images[0][:, 5:-5] == 200)


def test_what_is_not_whole_is_refused(photographs: Path, tmp_path: Path) -> None:
    packed = pack(photographs)
    for file in (photographs / "imagenette160/val/n03888257").iterdir():
        file.unlink()
    with pytest.raises(InputRefused, match="val/n03888257 has no images"):
        imagenette.decode(photographs, 160)
    whole = (packed / "imagenette160.tar").read_bytes()
    (packed / "imagenette160.tar").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputRefused, match=r"not a whole archive|has no images|not a readable image"):
        imagenette.decode(packed, 160)
    (packed / "imagenette160.tar").write_bytes(b"nothing at all")
    with pytest.raises(InputRefused, match="not a whole archive"):
        imagenette.decode(packed, 160)
    (photographs / "imagenette160/train/n01440764/a.webp").write_bytes(b"no image")
    with pytest.raises(InputRefused, match=r"a\.webp: not a readable image"):
        imagenette.decode(photographs, 160)


@pytest.mark.slow
@pytest.mark.skipif(not REAL.is_file() and os.environ.get("CI") != "true", reason="the shared data is not here")
def test_the_real_archive(tmp_path: Path) -> None:
    data = datasets.load("imagenette", REAL.parent, cache=tmp_path / "cache")
    assert data.train_images.shape == (3000, 160, 160, 3) and data.test_images.shape == (600, 160, 160, 3)
    assert np.bincount(data.train_labels).tolist() == [300] * 10 and np.bincount(data.test_labels).tolist() == [60] * 10
