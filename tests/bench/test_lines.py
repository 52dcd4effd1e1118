"""results.jsonl, and how a victim is called."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from rnpc.bench import lines
from rnpc.bench.run import Result
from rnpc.bench.spec import Cell
from rnpc.victims.spec import VictimSpec

CELL = Cell(4, VictimSpec("none", dataset="mnist"), "folded", 60, 1, "auto")


def test_what_only_the_cells_file_keeps() -> None:
    document = {"status": "failed", "error": "x", "traceback": "long", "identity": {}, "schema": "s", "key": "k"}
    rows = lines.lines([Result(CELL, document), Result(CELL, None)])
    place = {"number": 4, "form": "folded", "images": 60, "seed": 1, "method": "auto"}
    assert rows == [{**place, "status": "failed", "error": "x", "key": "k"}] and lines.done(rows) == []
    assert json.loads(lines.jsonl(rows)) == rows[0] and lines.jsonl(rows).endswith("}\n")


def test_names(line: Callable[..., dict[str, Any]]) -> None:
    bad, clean = line(1, (10, 1)), line(2, None)
    assert lines.backdoored(bad) and not lines.backdoored(clean)
    assert lines.short(bad["victim"], 3) == "badnets to 3, gtsrb, resnet18 w16, seed 1"
    assert lines.short({**clean["victim"], "settings": {"b": 2, "a": 1}}) == "clean a=1 b=2, gtsrb, resnet18 w16, seed 2"
