"""Writing the report: report.json (canonical) and report.html (one offline file), both or neither."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rnpc import files
from rnpc.panel import Panel
from rnpc.report.page import page
from rnpc.report.plain import plain_value

SCHEMA = "rnpc.report/2"


def write(directory: str | os.PathLike[str], document: Mapping[str, Any], panels: Sequence[Panel]) -> dict[str, Path]:
    """Write report.html and report.json into `directory` (made if missing) and return {"html": path, "json": path}.

    `document` is the JSON document of `rnpc harden`; `panels` appear in their order. The same input gives the same bytes. Raises
    SurroundingsError where the directory cannot be written; an earlier report is then whole.
    """
    text = {"json": to_json(document, panels), "html": page(document, panels)}
    folder = files.make_folder(Path(directory))
    paths = {kind: folder / f"report.{kind}" for kind in ("html", "json")}
    # A file name that is no UTF-8 arrives with lone surrogates; written as \udc80 they are valid in JSON and legible in HTML.
    files.write_all({paths[kind]: text[kind].encode(errors="backslashreplace") for kind in paths})
    return paths


def to_json(document: Mapping[str, Any], panels: Sequence[Panel]) -> str:
    """Document and panels as canonical JSON: sorted keys, no nan, one trailing newline."""
    listed = [{"kind": type(panel).__name__, **plain_value(panel)} for panel in panels]
    whole = {"schema": SCHEMA, "document": plain_value(document, exact=True), "panels": listed}
    return json.dumps(whole, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False) + "\n"
