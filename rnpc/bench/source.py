"""The digest of the code that a result depends on: all modules that an import leads to, from those that harden and measure.

Imports are followed in the files, not by running them, into functions too. What is named by a text (a registry's "rnpc.data.gtsrb:SOURCE")
counts as imported. Not followed is what the key holds by its own content or what no result depends on (`APART`). Files are digested as
syntax trees without docstrings, so that words and layout may change without throwing results away; what runs may not. Versions of the
libraries that compute belong to it.
"""

from __future__ import annotations

import ast
import hashlib
import re
import sys
from collections.abc import Iterable, Iterator
from functools import cache
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path

CELL = ("rnpc.bench.cell",)
MEASURING = ("rnpc.bench.measure",)
APART = ("rnpc.cli", "rnpc.report", "rnpc.victims", "rnpc.attacks", "rnpc.data.datasets", "rnpc.bench.source")
"""Reports and commands: a cell asks for none. Victims, their attacks and data sets: the key holds the bytes of what they made. And this
file, which names what counts."""
NAME = re.compile(r"[a-z_]\w*(\.\w+)+(:\w+)?")
LIBRARIES = ("torch", "onnx", "onnxruntime", "onnx-graphsurgeon", "numpy", "scipy")


@cache
def cell_digest(defense: str = "rnpc.bench.hardening") -> str:
    """Digest of all that a cell's result depends on; `defense` is the module that hardens."""
    return digest({name: file_of(name) for name in closure((*CELL, defense))})


@cache
def measuring_digest() -> str:
    """Digest of what a measurement of CA and ASR depends on."""
    return digest({name: file_of(name) for name in closure(MEASURING)})


def closure(start: Iterable[str], apart: Iterable[str] = APART) -> list[str]:
    """Sorted names of the modules that `start` leads to, itself included, as far as they belong to their own packages or to rnpc."""
    first, stops = set(start), tuple(apart)
    seen, todo = set[str](), list(first)
    while todo:
        name = todo.pop()
        if name in seen or (name not in first and any(name == stop or name.startswith(f"{stop}.") for stop in stops)):
            continue
        seen.add(name)
        todo += imported(name)
    return sorted(seen)


@cache
def imported(name: str) -> tuple[str, ...]:
    """Modules of its own package or of rnpc that a module names, and what they lie in; but not rnpc's `__init__`, which defers all."""
    tops = {"rnpc", name.partition(".")[0]}
    texts = (each for each in named(parse(file_of(name))) if each.partition(".")[0] in tops)
    return tuple(sorted(each for each in {part for text in texts for part in lineage(text)} if each != "rnpc" and is_module(each)))


def named(tree: ast.AST) -> Iterator[str]:
    """Dotted names in a file that may be modules. Imports for type checking do not run."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and NAME.fullmatch(node.value):
            yield node.value.partition(":")[0]
        yield from named(node)


def lineage(name: str) -> list[str]:
    """A dotted name and what it lies in: a.b.c, a.b, a."""
    parts = name.split(".")
    return [".".join(parts[:length]) for length in range(len(parts), 0, -1)]


@cache
def is_module(name: str) -> bool:
    """Whether there is a source file of that name."""
    try:
        file_of(name)
    except ModuleNotFoundError:
        return False
    return True


@cache
def file_of(name: str) -> Path:
    """The source file of a module, which is not imported for that: a cell's process should hold no more than hardening needs.

    Rooms are found as Python finds them, since some are mapped into the package from elsewhere; what is below lies in their folders.
    Raises ModuleNotFoundError.
    """
    parts = name.split(".")
    depth = 2 if parts[0] == "rnpc" else 1
    found, rest = find_spec(".".join(parts[:depth])), parts[depth:]
    if found is None or found.origin is None or not found.origin.endswith(".py"):
        raise ModuleNotFoundError(f"no source file of {name}")
    origin = Path(found.origin)
    if not rest:
        return origin
    below = origin.parent.joinpath(*rest)
    for file in (below.with_suffix(".py"), below / "__init__.py") if origin.name == "__init__.py" else ():
        if file.is_file():
            return file
    raise ModuleNotFoundError(f"no source file of {name}")


def digest(files: dict[str, Path]) -> str:
    """sha256 over names and trees of modules and the libraries' versions; folders, which differ between machines, do not count."""
    trees = [f"{name} {tree(file)}" for name, file in sorted(files.items())]
    return hashlib.sha256("\n".join([*trees, *versions()]).encode()).hexdigest()


def parse(file: Path) -> ast.Module:
    """A source file's syntax."""
    return ast.parse(file.read_bytes())


def tree(file: Path) -> str:
    """A source file's syntax without docstrings and positions."""
    parsed = parse(file)
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
