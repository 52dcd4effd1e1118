"""npz archives of images."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from rnpc.data import archive, images
from rnpc.errors import InputRefused


@pytest.mark.parametrize("order", ["NHWC", "NCHW"])
def test_archives(tmp_path: Path, order: str) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (5, 8, 8, 3), dtype=np.uint8)
    stored = pixels if order == "NHWC" else pixels.transpose(0, 3, 1, 2)
    np.savez(tmp_path / "d.npz", x=stored, y=np.array([3, 3, 10, 0, 0]))
    found = images.load(tmp_path / "d.npz", (8, 8))
    assert np.array_equal(found.images, pixels)
    assert found.classes == ("0", "10", "3") and found.labels is not None
    assert [found.classes[i] for i in found.labels] == ["3", "3", "10", "0", "0"]


def test_archives_that_cannot_be_meant_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "d.npz"
    for arrays, said in [
        ({"x": np.zeros((2, 8, 8, 3), np.float32)}, "float32, expected uint8"),
        ({"x": np.zeros((2, 8, 8, 3), np.uint8), "y": np.zeros(3, np.int64)}, "do not fit 2 images"),
        ({"other": np.zeros(3)}, "no array of images among other"),
        ({"x": np.zeros((0, 8, 8, 3), np.uint8)}, "holds no images"),
        ({"x": np.zeros((2, 9), np.uint8)}, "images of shape"),
        ({"x": np.array([{}], dtype=object)}, "cannot be read as npz"),
    ]:
        np.savez(file, **arrays)
        with pytest.raises(InputRefused, match=said):
            images.load(file, (8, 8))
    file.write_bytes(b"nothing")
    with pytest.raises(InputRefused, match="cannot be read as npz"):
        images.load(file, (8, 8))


@pytest.mark.parametrize(
    ("shape", "size"),
    [((2, 8, 6, 3), (8, 6)), ((2, 3, 8, 6), (8, 6)), ((2, 8, 6), (8, 6)), ((2, 8, 6, 5), None), ((2, 8), None)],
)
def test_the_size_is_read_from_the_header(tmp_path: Path, shape: tuple[int, ...], size: tuple[int, int] | None) -> None:
    np.savez(tmp_path / "d.npz", Images=np.zeros(shape, np.uint8))
    assert archive.size(tmp_path / "d.npz") == size


def test_what_is_no_archive_has_no_size(tmp_path: Path) -> None:
    np.savez(tmp_path / "d.npz", other=np.zeros(3))
    (tmp_path / "e.npz").write_bytes(b"nothing")
    assert archive.size(tmp_path / "d.npz") is archive.size(tmp_path / "e.npz") is archive.size(tmp_path / "none.npz") is None


def test_archives_are_resized(tmp_path: Path) -> None:
    np.savez(tmp_path / "d.npz", x=np.full((3, 8, 8), 7, np.uint8))
    assert (images.load(tmp_path / "d.npz", (4, 6), 1).images == np.full((3, 4, 6, 1), 7)).all()
