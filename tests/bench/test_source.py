"""The digest of code: words may change, what runs may not."""

from __future__ import annotations

from pathlib import Path

from rnpc.bench import source

CODE = '"""Idea."""\n\ndef f(x: int) -> int:\n    """Twice."""\n    return 2 * x  # why\n'


def digest(folder: Path, code: str) -> str:
    """Digest of one file with that code."""
    (folder / "a.py").write_text(code)
    return source.digest([folder / "a.py"])


def test_words(tmp_path: Path) -> None:
    first = digest(tmp_path, CODE)
    assert digest(tmp_path, CODE.replace("Twice", "Double").replace("# why", "#")) == first
    assert digest(tmp_path, CODE.replace("2 *", "3 *")) != first
    assert digest(tmp_path, CODE.replace("2 * x", "'2' * x")) != first


def test_folders_do_not_count(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name / "room").mkdir(parents=True)
    assert digest(tmp_path / "one" / "room", CODE) == digest(tmp_path / "two" / "room", CODE)


def test_what_counts() -> None:
    assert len(source.cell_digest()) == 64 and source.cell_digest() != source.measuring_digest()
    assert all(not line.endswith("none") for line in source.versions())
