"""One file to pixels: modes, orientation, size."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from rnpc.data import imagefile, images
from rnpc.program import Preprocessing


def save(path: Path, value: int = 100, mode: str = "RGB", size: tuple[int, int] = (8, 8), **options: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size, value if mode in ("L", "I;16") else (value,) * len(Image.new(mode, (1, 1)).getbands())).save(path, **options)


def test_modes_become_what_the_model_reads(tmp_path: Path) -> None:
    save(tmp_path / "0grey.png", 50, "L")
    save(tmp_path / "1alpha.png", 50, "RGBA")
    save(tmp_path / "2deep.png", 50 * 256, "I;16")
    Image.new("P", (8, 8), 0).save(tmp_path / "3palette.png", transparency=b"\x00\x10")
    colour = images.load(tmp_path, (8, 8), 3).images
    grey = images.load(tmp_path, (8, 8), 1).images
    assert colour[:3].reshape(3, -1).tolist() == [[50] * 192] * 3
    assert grey.shape == (4, 8, 8, 1) and grey[0, 0, 0, 0] == 50


def test_exif_orientation_is_applied(tmp_path: Path) -> None:
    picture = np.zeros((8, 8, 3), np.uint8)
    picture[:, :4] = 255
    image = Image.fromarray(picture)
    exif = image.getexif()
    exif[0x0112] = 6  # to be turned by 90 degrees clockwise: the left half comes to the top
    image.save(tmp_path / "0.png", exif=exif)
    found = images.load(tmp_path, (8, 8)).images[0]
    assert found[:4].min() == 255 and found[4:].max() == 0


def test_images_are_stretched_or_cut_to_the_models_size(tmp_path: Path) -> None:
    picture = np.zeros((10, 20, 3), np.uint8)
    picture[:, 5:15] = 255
    Image.fromarray(picture).save(tmp_path / "0.png")
    stretched = images.load(tmp_path, Preprocessing(10, 10, resample="nearest")).images[0]
    cut = images.load(tmp_path, Preprocessing(10, 10, resample="nearest", shortest_edge=10)).images[0]
    assert stretched.mean() == pytest.approx(127.5) and cut.min() == 255


def test_a_file_may_be_open_already(tmp_path: Path) -> None:
    save(tmp_path / "0.png", 50)
    data = (tmp_path / "0.png").read_bytes()
    pre = Preprocessing(8, 8)
    by_path, opened = imagefile.read(tmp_path / "0.png", pre, 3), imagefile.read(io.BytesIO(data), pre, 3)
    assert by_path is not None and opened is not None and np.array_equal(by_path, opened)
    assert imagefile.read(io.BytesIO(data[:20]), pre, 3) is None
