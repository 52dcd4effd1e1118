"""Digests by content: what is kept, and what is noticed."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from rnpc.data import contents


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    """Two small files."""
    (tmp_path / "data").mkdir()
    for name, text in (("a", "one"), ("b", "two")):
        (tmp_path / "data" / name).write_text(text)
    return [tmp_path / "data" / "a", tmp_path / "data" / "b"]


def digest(files: list[Path], salt: str = "") -> str:
    """With a sidecar beside the files."""
    return contents.of_files(files, files[0].parent, files[0].parent.parent / "sidecar", salt)


def test_content_counts_though_size_and_age_stay(files: list[Path]) -> None:
    first, state = digest(files), files[0].stat()
    assert digest(files) == first and len(list((files[0].parent.parent / "sidecar").iterdir())) == 1
    files[0].write_text("eno")
    os.utime(files[0], ns=(state.st_atime_ns, state.st_mtime_ns))
    assert digest(files) != first


def test_names_order_and_salt_count(files: list[Path]) -> None:
    first = digest(files)
    assert digest(files, "s") != first != digest(files[::-1])
    files[1].rename(files[1].with_name("c"))
    assert digest([files[0], files[1].with_name("c")]) != first


def test_places_and_ages_do_not_count(files: list[Path], tmp_path: Path) -> None:
    first = digest(files)
    os.utime(files[0], (1, 1))
    assert digest(files) == first
    moved = [file.rename(tmp_path / file.name) for file in files]
    assert contents.of_files(moved, tmp_path, tmp_path / "sidecar") == first


def test_nothing_is_read_twice(files: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    first = digest(files), contents.of_file(files[0])
    monkeypatch.setattr(contents, "keep", lambda *a: pytest.fail("read again"))
    monkeypatch.setattr(contents.hashlib, "file_digest", lambda *a: pytest.fail("read again"))
    assert (digest(files), contents.of_file(files[0])) == first


def test_a_sidecar_that_cannot_be_written(files: list[Path], tmp_path: Path) -> None:
    (tmp_path / "way").write_text("a file in the way")
    assert contents.of_files(files, None, tmp_path / "way") == contents.of_files(files, None, tmp_path / "way")


def test_one_file(files: list[Path]) -> None:
    first = contents.of_file(files[0])
    files[0].write_text("other")
    assert contents.of_file(files[0]) != first


def test_arrays(monkeypatch: pytest.MonkeyPatch) -> None:
    x = np.arange(60, dtype=np.uint8).reshape(10, 2, 3)
    first = contents.of_arrays([x, x[:0]])
    monkeypatch.setattr(contents, "CHUNK", 7)
    assert contents.of_arrays([x, x[:0]]) == first
    assert len({first, contents.of_arrays([x]), contents.of_arrays([x.astype(np.int8)]), contents.of_arrays([x.reshape(10, 3, 2)])}) == 4
