"""Folders, tables and archives as ImageSets; what is unreadable, empty or contradictory."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from rnpc.data import images
from rnpc.errors import InputRefused
from rnpc.program import Preprocessing


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


def test_images_beside_class_folders_are_refused(tmp_path: Path) -> None:
    save(tmp_path / "a/0.png")
    save(tmp_path / "loose.png")
    with pytest.raises(InputRefused, match=r"1 images lie beside the class folders \(loose.png"):
        images.load(tmp_path, (8, 8))


@pytest.mark.parametrize("kind", ["csv", "jsonl", "gtsrb"])
def test_tables_give_labels(tmp_path: Path, kind: str) -> None:
    for i in range(3):
        save(tmp_path / ("Images" if kind == "gtsrb" else ".") / f"{i}.png", 10 * i)
    if kind == "csv":
        (tmp_path / "metadata.csv").write_text("file_name,label\n2.png,dog\n0.png,cat\n1.png,dog\n")
    elif kind == "jsonl":
        rows = [{"file_name": f"{i}.png", "label": "cat" if i == 0 else "dog"} for i in (2, 0, 1)]
        (tmp_path / "metadata.jsonl").write_text("\n".join(map(json.dumps, rows)))
    else:
        (tmp_path / "GT-final_test.csv").write_text("Filename;Width;ClassId\n2.png;8;dog\n0.png;8;cat\n1.png;8;dog\n")
    found = images.load(tmp_path, (8, 8))
    assert found.names == ("0.png", "1.png", "2.png") and found.classes == ("cat", "dog")
    assert found.labels is not None and found.labels.tolist() == [0, 1, 1]
    assert found.images[:, 0, 0, 0].tolist() == [0, 10, 20]


def test_a_csv_of_other_files_does_not_hide_class_folders(tmp_path: Path) -> None:
    save(tmp_path / "a/0.png")
    (tmp_path / "train.csv").write_text("path,label\nelsewhere/0.png,a\n")
    assert images.load(tmp_path, (8, 8)).kind == "class folders"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("file_name,label\n9.png,a\n", "no such file"),
        ("file_name,label\n../x.png,a\n", "does not name a file in this folder"),
        ("file_name,label\n0.png,a\n0.png,b\n", "listed twice"),
        ("file_name,label\n0.png,\n", "has no label"),
        ("something,label\n0.png,a\n", "no column of file names"),
        ("file_name,label\n", "no rows"),
    ],
)
def test_bad_tables_are_refused(tmp_path: Path, text: str, said: str) -> None:
    save(tmp_path / "0.png")
    (tmp_path / "metadata.csv").write_text(text)
    with pytest.raises(InputRefused, match=said):
        images.load(tmp_path, (8, 8))


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
