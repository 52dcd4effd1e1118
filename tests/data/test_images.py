"""Folders as ImageSets: order, labels, what is unreadable or empty, the digest."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from rnpc.data import images
from rnpc.errors import InputRefused


def save(path: Path, value: int = 100, mode: str = "RGB", size: tuple[int, int] = (8, 8), **options: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size, value if mode in ("L", "I;16") else (value,) * len(Image.new(mode, (1, 1)).getbands())).save(path, **options)


def test_class_folders_are_read_in_the_order_of_names(tmp_path: Path) -> None:
    for name in ("b/2.png", "a/1.png", "b/10.webp", "a/0.jpg"):
        save(tmp_path / name)
    found = images.load(tmp_path, (8, 8))
    assert found.names == ("a/0.jpg", "a/1.png", "b/10.webp", "b/2.png")
    assert found.classes == ("a", "b") and found.labels is not None
    assert found.labels.tolist() == [0, 0, 1, 1]
    assert found.images.shape == (4, 8, 8, 3) and found.images.dtype == np.uint8


def test_a_flat_folder_has_no_labels(tmp_path: Path) -> None:
    save(tmp_path / "1.ppm")
    save(tmp_path / "0.png")
    (tmp_path / "README.txt").write_text("not an image")
    found = images.load(tmp_path, (8, 8))
    assert found.labels is None and found.classes is None and found.names == ("0.png", "1.ppm")


def test_what_is_not_there_or_empty_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputRefused, match="no such file or folder"):
        images.load(tmp_path / "none", (8, 8))
    with pytest.raises(InputRefused, match="no images in this folder"):
        images.load(tmp_path, (8, 8))


def test_unreadable_images_are_counted_and_refused_above_a_share(tmp_path: Path) -> None:
    for i in range(19):
        save(tmp_path / f"a/{i:02d}.png", i)
    (tmp_path / "a/05x.png").write_bytes(b"\x89PNG\r\n\x1a\n broken")
    found = images.load(tmp_path, (8, 8))
    assert len(found) == 19 and found.unreadable == ("a/05x.png",)
    assert found.images[:, 0, 0, 0].tolist() == list(range(19))
    for i in range(2):
        (tmp_path / f"a/{i}y.jpg").write_bytes(b"")
    with pytest.raises(InputRefused, match="3 of 22 images cannot be decoded"):
        images.load(tmp_path, (8, 8))


def test_the_digest_sees_names_labels_and_pixels(tmp_path: Path, folders: Callable[..., Path], bright: Callable[..., np.ndarray]) -> None:
    labels = np.arange(6) % 2
    root = folders(tmp_path / "d", labels, ["a", "b"], bright(labels))
    first = images.load(root, (8, 8))
    assert first.digest == images.load(root, (8, 8)).digest
    (root / "a/0000.png").rename(root / "a/0009.png")
    second = images.load(root, (8, 8))
    assert second.digest != first.digest and second.take([0]).digest != second.digest


def test_one_size_is_known_from_headers(tmp_path: Path) -> None:
    save(tmp_path / "0.png", size=(8, 6))
    save(tmp_path / "1.png", size=(8, 6))
    assert images.common_size(tmp_path) == (6, 8)
    save(tmp_path / "2.png", size=(9, 6))
    assert images.common_size(tmp_path) is None
