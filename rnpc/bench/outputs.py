"""Writes what a bench says: lines, table, summary and pictures, into the SPEC's folder of the bench's."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rnpc.bench import store
from rnpc.bench.lines import jsonl, lines
from rnpc.bench.run import Result
from rnpc.bench.tables.plots import plots
from rnpc.bench.tables.summary import markdown, summary
from rnpc.bench.tables.table import table


def write(folder: Path, name: str, results: Sequence[Result]) -> dict[str, Any]:
    """Write all files and return the summary. A picture that there is nothing to draw for is removed."""
    found = lines(results)
    document = summary(name, found, len(results))
    pictures = plots(name, found)
    texts = {
        "results.jsonl": jsonl(found),
        "table.md": table(name, found, len(results)),
        "summary.md": markdown(document, found),
        "summary.json": json.dumps(document, indent=1, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n",
    }
    for file, content in {**{file: text.encode() for file, text in texts.items()}, **pictures}.items():
        store.write_bytes(folder / file, content)
    for file in {"asr.png", "ca_drop.png"} - pictures.keys():
        (folder / file).unlink(missing_ok=True)
    return document
