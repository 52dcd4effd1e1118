"""All files of a SPEC: the same bytes each time."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from rnpc.bench import outputs
from rnpc.bench.run import Result
from rnpc.bench.spec import Cell
from rnpc.victims.spec import VictimSpec

Make = Callable[..., dict[str, Any]]


def test_same_bytes(line: Make, tmp_path: Path) -> None:
    found = [line(1, (1000, 10)), line(2, None)]
    for folder in ("a", "b"):
        outputs.write(tmp_path / folder, "s", [result(each) for each in found])
    names = sorted(p.name for p in (tmp_path / "a").iterdir())
    assert names == ["asr.png", "attacks.md", "ca_drop.png", "results.jsonl", "summary.json", "summary.md", "table.md"]
    assert all((tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes() for name in names)
    outputs.write(tmp_path / "a", "s", [Result(result(found[0]).cell, None)])
    assert not (tmp_path / "a" / "asr.png").exists()


def result(each: dict[str, Any]) -> Result:
    """The line as a result of its cell."""
    victim = VictimSpec.from_document({**each["victim"], "target": each["target"]})
    return Result(Cell(each["number"], victim, each["form"], each["images"], each["seed"], each["method"]), each)
