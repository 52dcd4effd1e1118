"""The wheel: built from a copy of the tree, unpacked outside the checkout, it holds every package and data file and imports."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FOLDERS = ("rnpc", "passes", "frontends", "models")
BUILD = "import sys; from setuptools.build_meta import build_wheel; print(build_wheel(sys.argv[1]))"
CODE = (".py", ".j2", ".css", ".typed", ".toml", ".onnx", ".npz", ".json")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of this tree."""
    tree = tmp_path_factory.mktemp("tree")
    for name in FOLDERS:
        shutil.copytree(ROOT / name, tree / name, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
    for name in ("setup.cfg", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, tree)
    done = subprocess.run([sys.executable, "-c", BUILD, "dist"], cwd=tree, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    return next((tree / "dist").glob("rnpc-*.whl"))


def test_it_holds_what_the_folders_hold(wheel: Path) -> None:
    held = {n for n in zipfile.ZipFile(wheel).namelist() if n.startswith("rnpc/")}
    expected = set()
    for top in FOLDERS:
        for path in (ROOT / top).rglob("*"):
            if path.is_file() and path.suffix in CODE and "__pycache__" not in path.parts:
                inside = path.relative_to(ROOT)
                expected.add(inside.as_posix() if top == "rnpc" else f"rnpc/{inside.as_posix()}")
    assert held == expected


def test_it_imports_outside_the_checkout(wheel: Path, tmp_path: Path) -> None:
    zipfile.ZipFile(wheel).extractall(tmp_path)
    code = "import rnpc, rnpc.passes, rnpc.frontends, rnpc.models.demo as d, rnpc.report, sys; print(rnpc.__file__, d.__file__)"
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert all(Path(p).is_relative_to(tmp_path) for p in done.stdout.split())
