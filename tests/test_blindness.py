"""The method never sees an attack: not in what it imports, not in what it is given."""

from __future__ import annotations

import ast
import inspect
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import pytest

import rnpc
from rnpc.defenses import rnp as paper
from rnpc.defenses.auto import blind

ROOT = Path(__file__).parents[2]
FOLDERS = {"passes": ROOT / "passes", "frontends": ROOT / "frontends", "models": ROOT / "models"}


def file_of(module: str) -> Path | None:
    """The source of a dotted name below rnpc, or None where it is no module (a name in one)."""
    parts = module.split(".")[1:]
    base = FOLDERS.get(parts[0]) if parts else None
    path = ROOT.joinpath("rnpc", *parts) if base is None else base.joinpath(*parts[1:])
    found = (path.with_suffix(".py"), path / "__init__.py") if parts else (ROOT / "rnpc" / "__init__.py",)
    return next((file for file in found if file.is_file()), None)


def imported(module: str) -> set[str]:
    """Modules of rnpc that a module imports, anywhere in its file, their packages too."""
    file = file_of(module)
    assert file is not None
    names = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return {name for name in names if name.startswith("rnpc.") and file_of(name)}


def closure(start: set[str]) -> set[str]:
    """Everything that is imported by way of `start`."""
    seen, todo = set(), set(start)
    while todo:
        module = todo.pop()
        seen.add(module)
        todo |= imported(module) - seen
    return seen


def test_no_way_of_imports_leads_to_the_attacks() -> None:
    start = {f"rnpc.method.{file.stem}" for file in (ROOT / "rnpc" / "method").glob("*.py") if file.stem != "__init__"}
    reached = closure(start)
    assert "rnpc.twin.build" in reached and "rnpc.passes.facts.sites" in reached
    assert not [module for module in reached if module.startswith(("rnpc.attacks", "rnpc.bench", "rnpc.data.datasets"))]


def test_nothing_is_loaded_at_run_time() -> None:
    code = "import sys, rnpc.defenses.auto.blind, rnpc.defenses.rnp; print(*[m for m in sys.modules if m.startswith('rnpc.attacks')])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == ""


@pytest.mark.parametrize("method", [blind.decide, paper.decide])
def test_a_method_gets_clean_data_and_settings_only(method: object) -> None:
    assert callable(method)
    assert list(inspect.signature(method).parameters) == ["request"]
    names = {field.name for field in fields(blind.Request)}
    assert names == {"program", "images", "labels", "pre", "seed", "max_ca_drop", "device", "force", "tell"}


def test_the_api_passes_on_nothing_else() -> None:
    words = ("trigger", "target", "asr", "test", "attack", "victim")
    for function in (rnpc.harden, rnpc.api.harden_file, rnpc.api.harden_program):
        assert not [name for name in inspect.signature(function).parameters if any(word in name for word in words)]
    assert not [field.name for field in fields(rnpc.api.Settings) if any(word in field.name for word in words)]
