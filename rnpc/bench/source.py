"""The digest of the code that a result depends on.

Source files are digested as syntax trees without docstrings, so that words and layout may change without throwing results away; what runs
may not. Versions of the libraries that compute belong to it.
"""

from __future__ import annotations

import ast
import hashlib
import sys
from collections.abc import Iterable
from functools import cache
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path

ROOMS = ("method", "passes", "twin", "frontends", "data")
"""Packages whose files all count; so do the modules directly in `rnpc` (program, runtime, stats, api and what they share)."""
CELL = tuple(f"bench/{name}.py" for name in ("cell", "draw", "hardening", "judging", "measure", "oracle"))
MEASURING = ("runtime.py", "data/preprocess.py", "bench/measure.py")
LIBRARIES = ("torch", "onnx", "onnxruntime", "numpy", "scipy")


@cache
def cell_digest(defense: str = "rnpc.bench.hardening") -> str:
    """Digest of all that a cell's result depends on; `defense` is the module that hardens."""
    root = package("rnpc")
    files = [*root.glob("*.py"), *(root / name for name in CELL)]
    files += [f for room in ROOMS for f in package(f"rnpc.{room}").rglob("*.py")]
    return digest({f for f in files if f != root / "__init__.py"} | {origin(defense)})


@cache
def measuring_digest() -> str:
    """Digest of what a measurement of CA and ASR depends on."""
    return digest(package("rnpc") / name for name in MEASURING)


def package(name: str) -> Path:
    """The folder of a package."""
    return origin(name).parent


def origin(name: str) -> Path:
    """The file of a module, which is not imported for that: a cell's process should hold no more than hardening needs."""
    found = find_spec(name)
    if found is None or found.origin is None:
        raise ModuleNotFoundError(f"no source file of {name}")
    return Path(found.origin)


def digest(files: Iterable[Path]) -> str:
    """sha256 over the trees of the files and the libraries' versions; names count without their folders, which differ between machines."""
    trees = sorted(f"{file.parent.name}/{file.name} {tree(file)}" for file in files)
    return hashlib.sha256("\n".join([*trees, *versions()]).encode()).hexdigest()


def tree(file: Path) -> str:
    """A source file's syntax without docstrings and positions."""
    parsed = ast.parse(file.read_bytes())
    for node in ast.walk(parsed):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            node.body = [part for part in node.body if not is_text(part)]
    return ast.dump(parsed)


def is_text(node: ast.stmt) -> bool:
    """A docstring, or a text that stands where one could."""
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)


def versions() -> list[str]:
    """Python and the libraries, as `name version`."""
    return [f"python {sys.version_info.major}.{sys.version_info.minor}", *(f"{name} {version(name)}" for name in LIBRARIES)]


def version(name: str) -> str:
    """The installed version; onnxruntime comes under two names."""
    for distribution in (name, f"{name}-gpu"):
        try:
            return metadata.version(distribution)
        except metadata.PackageNotFoundError:
            continue
    return "none"
