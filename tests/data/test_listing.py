"""What a folder says about its images: tables, class folders, contradictions."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image

from rnpc.data import images
from rnpc.errors import InputRefused


def save(path: Path, value: int = 100) -> None:
    """Writes a small image of one grey."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (8, 8), (value,) * 3).save(path)


def test_a_csv_of_other_files_does_not_hide_class_folders(tmp_path: Path) -> None:
    save(tmp_path / "a/0.png")
    (tmp_path / "train.csv").write_text("path,label\nelsewhere/0.png,a\n")
    assert images.load(tmp_path, (8, 8)).kind == "class folders"


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
