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
from rnpc.defenses import DEFENSES
from rnpc.detectors import DETECTORS
from rnpc.study.case import Case

ROOT = Path(__file__).parents[1]
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


BLIND = ("study", "detectors", "defenses")
"""Rooms that decide."""
SEEING = ("rnpc.attacks", "rnpc.victims", "rnpc.bench", "rnpc.data.datasets")
WORDS = ("trigger", "target", "asr", "test", "attack", "victim")


def deciding() -> set[str]:
    """Modules of the rooms that decide."""
    found = set()
    for room in BLIND:
        for file in (ROOT / "rnpc" / room).rglob("*.py"):
            parts = file.relative_to(ROOT / "rnpc").with_suffix("").parts
            found.add(".".join(("rnpc", *(parts[:-1] if parts[-1] == "__init__" else parts))))
    return found


def test_no_way_of_imports_leads_to_the_attacks() -> None:
    reached = closure(deciding())
    assert {"rnpc.twin.build", "rnpc.passes.facts.sites", "rnpc.defenses.auto.cut"} <= reached
    assert not [module for module in reached if module.startswith(SEEING)]


def test_nothing_is_loaded_at_run_time() -> None:
    lines = ["import sys", *(f"import {module}" for module in sorted(deciding()))]
    lines.append(f"print(*[m for m in sys.modules if m.startswith({SEEING!r})])")
    done = subprocess.run([sys.executable, "-P", "-c", "\n".join(lines)], capture_output=True, text=True, timeout=120, cwd=ROOT.parent)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == ""


def test_a_case_holds_clean_data_and_settings_only() -> None:
    names = {field.name for field in fields(Case)}
    assert names == {"subject", "learn", "choose", "judge", "rows", "seed", "max_drop", "strict", "names", "tell"}


@pytest.mark.parametrize("name", DEFENSES.names())
def test_a_defense_sees_a_case_and_a_detection(name: str) -> None:
    assert list(inspect.signature(DEFENSES.kind(name).defend).parameters) == ["self", "case", "detection"]
    assert not [field.name for field in DEFENSES.fields(name) if any(word in field.name for word in WORDS)]


@pytest.mark.parametrize("name", DETECTORS.names())
def test_a_detector_sees_a_case(name: str) -> None:
    assert list(inspect.signature(DETECTORS.kind(name).detect).parameters) == ["self", "case"]
    assert not [field.name for field in DETECTORS.fields(name) if any(word in field.name for word in WORDS)]


def test_the_api_passes_on_nothing_else() -> None:
    for function in (rnpc.harden, rnpc.api.harden_file, rnpc.api.harden_program):
        assert not [name for name in inspect.signature(function).parameters if any(word in name for word in WORDS)]
    assert not [field.name for field in fields(rnpc.api.Settings) if any(word in field.name for word in WORDS)]
