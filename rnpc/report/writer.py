"""Writing the report: report.json (canonical) and report.html (one offline file), both or neither."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rnpc import files
from rnpc.report.evidence import Evidence, plain_value
from rnpc.report.page import page

SCHEMA = "rnpc.report/1"


def write(directory: str | os.PathLike[str], document: Mapping[str, Any], evidence: Evidence) -> dict[str, Path]:
    """Write report.html and report.json into `directory` (made if missing) and return {"html": path, "json": path}.

    `document` is the JSON document of `rnpc harden`. The same document and evidence give the same bytes. Raises SurroundingsError
    where the directory cannot be written; an earlier report is then whole.
    """
    text = {"json": to_json(document, evidence), "html": page(document, evidence)}
    folder = files.make_folder(Path(directory))
    paths = {kind: folder / f"report.{kind}" for kind in ("html", "json")}
    files.write_all({paths[kind]: text[kind].encode() for kind in paths})
    return paths


def to_json(document: Mapping[str, Any], evidence: Evidence) -> str:
    """Document and evidence as canonical JSON: sorted keys, no nan, one trailing newline."""
    whole = {"schema": SCHEMA, "document": plain_value(document, exact=True), "evidence": evidence.to_json()}
    return json.dumps(whole, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False) + "\n"
