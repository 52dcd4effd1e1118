"""The data sets of victims: the cache, and roots without data."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from rnpc.data import datasets, gtsrb
from rnpc.errors import InputRefused, UsageError

Save = Callable[..., np.ndarray]


@pytest.mark.parametrize("name", ["gtsrb", "cifar10", "imagenette"])
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


def test_cache_is_used_and_keyed_by_content(signs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, save_picture: Save) -> None:
    first = datasets.load("gtsrb", signs, cache=tmp_path / "cache")
    source = datasets.Source(gtsrb.find, lambda root: pytest.fail("decoded again"), *vars_of(gtsrb.SOURCE))
    monkeypatch.setattr(gtsrb, "SOURCE", source)
    again = datasets.load("gtsrb", signs, cache=tmp_path / "cache")
    assert np.array_equal(again.train_images, first.train_images) and again.digest == first.digest
    monkeypatch.undo()
    save_picture(signs / "GTSRB/Final_Training/Images/00003/00001_00000.png")
    assert len(datasets.load("gtsrb", signs, cache=tmp_path / "cache").train_labels) == 87


def test_other_pixels_of_the_same_name_and_size_are_other_data(signs: Path, tmp_path: Path) -> None:
    """Names and sizes alone would take the old arrays, and keep results under the wrong name."""
    file = signs / "GTSRB/Final_Training/Images/00003/00000_00000.bmp"
    Image.new("RGB", (32, 32), (1, 2, 3)).save(file)
    first, state = datasets.load("gtsrb", signs, cache=tmp_path / "cache"), file.stat()
    Image.new("RGB", (32, 32), (3, 2, 1)).save(file)
    os.utime(file, ns=(state.st_atime_ns, state.st_mtime_ns))
    assert file.stat().st_size == state.st_size
    second = datasets.load("gtsrb", signs, cache=tmp_path / "cache")
    assert second.digest != first.digest and not np.array_equal(second.train_images, first.train_images)


def test_one_digest_on_every_machine(signs: Path, tmp_path: Path) -> None:
    first = datasets.load("gtsrb", signs, cache=tmp_path / "cache")
    signs.rename(tmp_path / "moved")
    assert datasets.load("gtsrb", tmp_path / "moved", cache=tmp_path / "other").digest == first.digest


def vars_of(source: datasets.Source) -> tuple[tuple[str, ...], tuple[float, ...], tuple[float, ...], bool]:
    """The fields of a source that are not functions."""
    return source.classes, source.mean, source.std, source.flip


def test_damaged_cache_is_made_again(signs: Path, tmp_path: Path) -> None:
    datasets.load("gtsrb", signs, cache=tmp_path / "cache")
    (file,) = (tmp_path / "cache").glob("datasets/*/train_images.npy")
    file.write_bytes(b"")
    datasets.load("gtsrb", signs, cache=tmp_path / "cache")
    assert len(np.load(file)) == 86
    assert [p.name for p in file.parent.parent.iterdir() if p.is_dir()] == [file.parent.name]


def test_cache_that_cannot_be_written(signs: Path, tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file in the way")
    assert len(datasets.load("gtsrb", signs, cache=tmp_path / "cache").train_labels) == 86


def test_a_set_tells_how_its_images_are_read(signs: Path, tmp_path: Path) -> None:
    data = datasets.load("gtsrb", signs, cache=tmp_path / "cache")
    assert (data.preprocessing.height, data.preprocessing.mean, data.preprocessing.std) == (32, data.mean, data.std)
