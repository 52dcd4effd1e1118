"""Writes what a bench says into the SPEC's folder: its lines, and the files of every table."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rnpc import files
from rnpc.bench.lines import jsonl, lines
from rnpc.bench.run import Result
from rnpc.bench.tables import attacks, plots, summary, table

TABLES = (table, summary, attacks, plots)
"""Each has `files(SPEC's name, lines, cells) -> {file name: content}`. A new one is one file there and its name here."""
SOMETIMES = plots.NAMES
"""Files that are removed where there is nothing to draw for them."""


def write(folder: Path, name: str, results: Sequence[Result]) -> dict[str, Any]:
    """Write all files and return the summary."""
    rows = lines(results)
    made = {"results.jsonl": jsonl(rows).encode()}
    for each in TABLES:
        made |= each.files(name, rows, len(results))
    files.make_folder(folder)
    for file, content in made.items():
        files.write(folder / file, content)
    for file in set(SOMETIMES) - made.keys():
        (folder / file).unlink(missing_ok=True)
    return summary.summary(name, rows, len(results))
