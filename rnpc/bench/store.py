"""What lies in a bench's folder, and how it is written: each file complete or not there at all (`rnpc.files`).

    victims/<key>/         trained victims, and the forms that were made of them
    cells/<key>.json       a result each
    answers/<key>.json     CA and ASR of a file, by content
    locks/                 who is at work
    <SPEC's name>/         results.jsonl, table.md, summary.md, summary.json, attacks.md, plots

Results are found by name alone, so a bench can be killed at any time and several can share a folder.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rnpc import files

if TYPE_CHECKING:
    from rnpc.victims.spec import VictimSpec


@dataclass(frozen=True)
class Store:
    """The folder of a bench."""

    root: Path

    def victim(self, spec: VictimSpec) -> Path:
        """Folder of a victim."""
        return self.root / "victims" / spec.key

    def cell(self, key: str) -> Path:
        """Result of a cell."""
        return self.root / "cells" / f"{key}.json"

    @property
    def answers(self) -> Path:
        """Folder of measurements."""
        return self.root / "answers"

    def lock(self, name: str) -> Path:
        """Lock of a task."""
        return self.root / "locks" / f"{name}.lock"

    def tables(self, name: str) -> Path:
        """Folder of a SPEC's tables."""
        return self.root / name


def key_of(document: dict[str, Any]) -> str:
    """sha256 of a document's canonical JSON."""
    return hashlib.sha256(json.dumps(document, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()).hexdigest()


def read(path: Path) -> dict[str, Any] | None:
    """A JSON document, or None where there is none (or none that is whole, which `write` never leaves)."""
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return document if isinstance(document, dict) else None


def write(path: Path, document: dict[str, Any]) -> None:
    """Write a document, its folder made where it is missing. Raises SurroundingsError."""
    files.make_folder(path.parent)
    files.write(path, (json.dumps(document, indent=1, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n").encode())
