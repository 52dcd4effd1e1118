"""results.jsonl: one line a cell that was run, in the SPEC's order. All tables and plots are made from these lines."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from rnpc.bench.run import Result

Line = dict[str, Any]
LEFT_OUT = ("schema", "identity", "traceback")
"""What only the cell's own file keeps."""


def lines(results: Sequence[Result]) -> list[Line]:
    """The results that are there."""
    return [line(result, result.document) for result in results if result.document is not None]


def line(result: Result, document: dict[str, Any]) -> Line:
    """One cell: where it stands in the SPEC, and its result."""
    cell = result.cell
    place = {"number": cell.number, "form": cell.form, "images": cell.images, "seed": cell.seed, "method": cell.method}
    return {**place, **{key: value for key, value in document.items() if key not in LEFT_OUT}}


def jsonl(rows: Sequence[Line]) -> str:
    """One JSON document a line, keys sorted."""
    return "".join(json.dumps(each, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n" for each in rows)


def done(rows: Sequence[Line]) -> list[Line]:
    """The lines of cells that did not fail."""
    return [each for each in rows if each["status"] == "done"]


def backdoored(each: Line) -> bool:
    """Whether the line's victim has a backdoor."""
    return each["before"]["asr"] is not None


def short(victim: dict[str, Any], target: Any = None) -> str:
    """A victim in a few words."""
    goal = "" if target is None else f" to {target}"
    settings = "".join(f" {key}={value}" for key, value in sorted(victim["settings"].items()))
    attack = "clean" if victim["attack"] == "none" else victim["attack"]
    return f"{attack}{goal}{settings}, {victim['dataset']}, {victim['arch']} w{victim['width']}, seed {victim['seed']}"
