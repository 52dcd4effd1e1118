"""A short run of benchmarks/verify_mutations.py: no single edit of a hardened file passes, every untouched file does."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest


@pytest.fixture(scope="module")
def bench() -> ModuleType:
    path = Path(__file__).parents[3] / "benchmarks" / "verify_mutations.py"
    spec = importlib.util.spec_from_file_location("verify_mutations", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # its dataclasses look their module up
    spec.loader.exec_module(module)
    return module


def test_no_edit_passes(bench: ModuleType) -> None:
    found = bench.measure(edits=66, plans=3, seed=1)
    assert len(found) == 11 and all(len(said) == 6 for said in found.values())


def test_what_is_said_fits_the_edit(bench: ModuleType) -> None:
    """With the trusted plan the first difference named is of the kind that was made."""
    first = {kind: [lines[-1] for lines in said] for kind, said in bench.measure(edits=44, plans=2, seed=2).items()}
    for kind, words in (
        ("weight", ("tensor:",)),
        ("bias", ("tensor:",)),
        ("attribute", ("attribute:",)),
        ("unknown field", ("unknown field:",)),
    ):
        assert all(line.startswith(words) for line in first[kind]), (kind, first[kind])


@pytest.mark.slow
def test_three_hundred_edits(bench: ModuleType) -> None:
    assert sum(map(len, bench.measure(edits=330, plans=10, seed=3).values())) == 330
