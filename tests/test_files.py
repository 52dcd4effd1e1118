"""Outputs: whole or not at all, never over an input."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from rnpc import files
from rnpc.errors import InputRefused, SurroundingsError, UsageError


def test_a_write_replaces_and_leaves_nothing_beside(tmp_path: Path) -> None:
    place = tmp_path / "out.onnx"
    place.write_bytes(b"old")
    place.chmod(0o640)
    files.write(place, b"new")
    assert place.read_bytes() == b"new" and place.stat().st_mode & 0o777 == 0o640
    assert [p.name for p in tmp_path.iterdir()] == ["out.onnx"]


def test_a_failed_write_keeps_all_old_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = tmp_path / "a", tmp_path / "b"
    first.write_bytes(b"old")
    real = files.fill

    def full(path: Path, data: bytes, like: Path) -> None:
        if data == b"2":
            raise OSError(28, "No space left on device")
        real(path, data, like)

    monkeypatch.setattr(files, "fill", full)
    with pytest.raises(SurroundingsError, match="No space left"):
        files.write_all({first: b"1", second: b"2"})
    assert first.read_bytes() == b"old" and [p.name for p in tmp_path.iterdir()] == ["a"]


def test_an_input_is_never_an_output(tmp_path: Path) -> None:
    model = tmp_path / "model.onnx"
    model.write_bytes(b"model")
    (tmp_path / "link").symlink_to(model)
    os.link(model, tmp_path / "hard")
    (tmp_path / "folder").symlink_to(tmp_path)
    for name in ("model.onnx", "link", "hard", "folder/model.onnx", "folder/folder/model.onnx"):
        with pytest.raises(UsageError, match="the output is an input"):
            files.write(tmp_path / name, b"x", inputs=[model])
    assert model.read_bytes() == b"model"


def test_a_link_is_followed(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "real")
    files.write(tmp_path / "link", b"x")
    assert (tmp_path / "link").is_symlink() and (tmp_path / "real").read_bytes() == b"x"


def test_what_cannot_be_written_is_refused_before_any_work(tmp_path: Path) -> None:
    for place in (tmp_path / "none/out", tmp_path, Path(os.devnull)):
        with pytest.raises(SurroundingsError):
            files.check_output(place)
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(SurroundingsError):
        files.make_folder(tmp_path / "file/sub")
    assert files.make_folder(tmp_path / "a/b").is_dir()


def test_what_the_system_does_not_tell_is_an_error_of_ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert files.kind(tmp_path) == "folder" and files.kind(os.devnull) == "other"
    assert files.kind(tmp_path / "none") is files.kind(tmp_path / "a\0b") is None
    with pytest.raises(InputRefused, match="File name too long"):
        files.kind(tmp_path / ("x" * 300))
    with pytest.raises(SurroundingsError, match="File name too long"):
        files.check_output(tmp_path / ("x" * 300))

    def closed(path: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "stat", closed)
    with pytest.raises(InputRefused, match="Permission denied"):
        files.kind(tmp_path / "model.onnx")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_without_permission(tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o500)
    with pytest.raises(SurroundingsError, match="Permission denied"):
        files.check_output(closed / "out")
