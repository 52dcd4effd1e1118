"""docs/operators.md says what the registry holds."""

from __future__ import annotations

from pathlib import Path

import onnx

from rnpc.registry import OPSETS, since_version
from rnpc.twin.catalog import markdown
from rnpc.twin.node import OPERATORS

PAGE = Path(__file__).parents[2] / "docs" / "operators.md"


def test_page_is_up_to_date() -> None:
    assert PAGE.read_text(encoding="utf-8") == markdown(), "run `python -m rnpc.twin.catalog docs/operators.md`"


def test_ranges_begin_and_end_at_versions_that_exist() -> None:
    """A range whose end is a typo would wait for a version that never comes, or miss one that did."""
    there: dict[str, set[int]] = {}
    for schema in onnx.defs.get_all_schemas_with_history():
        if schema.domain == "":
            there.setdefault(schema.name, set()).add(schema.since_version)
    wrong = [(e.op_type, e.first, e.last) for e in OPERATORS if e.first not in there[e.op_type] or e.last not in there[e.op_type]]
    assert not wrong


def test_every_version_within_the_opsets_is_covered() -> None:
    """A known operator has no gap: each version that a readable opset resolves to has its entry."""
    names = {entry.op_type for entry in OPERATORS}
    known = [(n, o) for n in names for o in OPSETS if since_version(n, o) is not None]
    gaps = {(n, o) for n, o in known if OPERATORS.find(n, o) is None and not onnx.defs.get_schema(n, o).deprecated}
    assert not gaps
