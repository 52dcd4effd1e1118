"""The digest of code: words may change, what runs may not, wherever an import leads."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from rnpc.bench import source

CODE = '"""Idea."""\n\ndef f(x: int) -> int:\n    """Twice."""\n    return 2 * x  # why\n'


def digest(folder: Path, code: str) -> str:
    """Digest of one file with that code."""
    (folder / "a.py").write_text(code)
    return source.digest({"a": folder / "a.py"})


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


def test_the_code_that_measures_counts() -> None:
    """It is not in a list of folders that someone must keep: imports lead to it."""
    measuring, cell = source.closure(source.MEASURING), source.closure(source.CELL)
    assert {"rnpc.bench.measure", "rnpc.runtime", "rnpc.data.preprocess", "rnpc.stats", "rnpc.errors"} <= set(measuring) < set(cell)
    assert {"rnpc.bench.oracle", "rnpc.bench.judging", "rnpc.data.images", "rnpc.twin.ops.conv", "rnpc.passes.rewrite.zero"} <= set(cell)
    assert {"rnpc.defenses.rnp", "rnpc.frontends.onnx_file"} <= set(cell)  # a catalogue names its entries by text
    assert not [name for name in cell if name.startswith(source.APART)] and "rnpc" not in cell


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package of its own, whose modules lead to each other in several ways."""
    folder = tmp_path / "closurepack"
    files = {
        "__init__": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import closurepack.typed\n",
        "start": "def f():\n    from closurepack import late\n    import json.decoder\n",
        "late": 'PLACES = {"a": "closurepack.deep.named:Thing", "b": "closurepack.none"}\n',
        "deep/__init__": "import closurepack.beside\n",
        "deep/named": "",
        "beside": "",
        "typed": "",
        "unused": "",
    }
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / f"{name}.py").write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    for kept in (source.file_of, source.is_module, source.imported):
        kept.cache_clear()
    return folder


def test_closure(package: Path) -> None:
    found = source.closure(["closurepack.start"])
    names = ["", ".beside", ".deep", ".deep.named", ".late", ".start"]
    assert found == [f"closurepack{name}" for name in names]
    assert source.closure(["closurepack.start"], ["closurepack.deep"]) == ["closurepack", "closurepack.late", "closurepack.start"]


def test_nothing_heavy_is_imported_for_it() -> None:
    code = "import sys; from rnpc.bench import source; source.cell_digest(); print({'torch', 'onnx', 'numpy'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_what_is_no_module() -> None:
    for name in ("rnpc.nothing", "nothing", "rnpc.stats.rate", "sys", "rnpc.data.images.load"):
        with pytest.raises(ModuleNotFoundError):
            source.file_of(name)
