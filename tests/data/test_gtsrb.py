"""GTSRB in the official layout."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from rnpc.data import datasets, gtsrb
from rnpc.errors import InputRefused


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
