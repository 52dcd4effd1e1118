"""From a document and panels to the HTML page: gathers what the template shows. What a panel shows is the panel's business."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import jinja2

from rnpc.panel import Panel
from rnpc.report.numbers import number
from rnpc.report.panels import drawn
from rnpc.report.tiles import tiles
from rnpc.report.words import Outcome, describe


def page(document: Mapping[str, Any], panels: Sequence[Panel]) -> str:
    """The whole HTML page."""
    loader = jinja2.FileSystemLoader(Path(__file__).parent)
    environment = jinja2.Environment(loader=loader, autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined)
    environment.filters.update(number=number)
    return environment.get_template("report.html.j2").render(context(document, panels)) + "\n"


def context(document: Mapping[str, Any], panels: Sequence[Panel]) -> dict[str, Any]:
    """Everything that the template names."""
    words = describe(document)
    return {
        "words": words,
        "rests": "Why there is no verdict" if words.outcome is Outcome.INCONCLUSIVE else "What the verdict rests on",
        "tiles": tiles(document),
        "panels": [drawn(panel, f"panel{i}") for i, panel in enumerate(panels, 1)],
        "rnpc": document.get("rnpc"),
        "method": document.get("method"),
        "seed": document.get("seed"),
        "input": {"path": None, "sha256": None, **(document.get("input") or {})},
        "output": document.get("output") or {},
        "data": document.get("data") or {},
        "provider": document.get("provider"),
        "difference": document.get("twin_difference"),
        "pruned_sites": (document.get("pruned") or {}).get("sites") or [],
        "settings": list(setting_rows(document.get("settings") or {})),
        "reasons": document.get("reasons") or [],
        "notes": [*(document.get("notes") or []), *(document.get("warnings") or [])],
        "edits": edit_counts(document.get("edits") or []),
        "command": command(document),
    }


def edit_counts(edits: Iterable[Mapping[str, Any]]) -> list[tuple[str, int, int]]:
    """Kind of edit, how many tensors, how many entries or rows."""
    found: dict[str, tuple[set[str], int]] = {}
    for edit in edits:
        kind = str(edit.get("kind"))
        tensors, entries = found.get(kind, (set(), 0))
        found[kind] = (tensors | {str(edit.get("tensor") or edit.get("node") or "")}, entries + max(len(edit.get("index") or []), 1))
    return [(kind, len(tensors), entries) for kind, (tensors, entries) in sorted(found.items())]


def command(document: Mapping[str, Any]) -> str:
    """A command line that redoes this run; folders stay out of documents, so they are placeholders.

    A setting's option is its name, as it is for `rnpc harden`; what was stated about preprocessing is stated again.
    """
    settings = document.get("settings") or {}
    values = {"method": document.get("method"), **{k: v for k, v in sorted(settings.items()) if k != "force"}, "seed": document.get("seed")}
    path = shlex.quote(str((document.get("input") or {}).get("path") or "MODEL"))
    given = [word for key, value in values.items() for word in option(key, value)]
    return " ".join(["rnpc harden", path, "--defense-data DIR", *given, *stated(settings), *["--force"] * bool(settings.get("force"))])


def option(name: str, value: Any) -> list[str]:
    """A setting as an option; nothing for one that was not set, or is no single value."""
    flag = name.replace("_", "-")
    if isinstance(value, bool):
        return [f"--{flag}" if value else f"--no-{flag}"]
    return [f"--{flag} {shlex.quote(str(value))}"] if isinstance(value, str | int | float) else []


def stated(settings: Mapping[str, Any]) -> list[str]:
    """Options for preprocessing that came from the command line, which its sources name."""
    group = settings.get("preprocessing") or {}
    sources = {str(source) for source in (group.get("sources") or {}).values()}
    files = [f"--preprocess {shlex.quote(s.removeprefix('--preprocess '))}" for s in sorted(sources) if s.startswith("--preprocess ")]
    values = {key: group.get(key) for key in ("mean", "std") if (group.get("sources") or {}).get(key) == "flag"}
    return files + [f"--{key} {','.join(f'{v:.9g}' for v in value)}" for key, value in values.items() if value]


def setting_rows(settings: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    """(name, value, source) of each setting; those of a group come one by one, with the sources that the group names."""
    for key, value in sorted(settings.items()):
        if not isinstance(value, Mapping):
            yield key, flat(value), ""
            continue
        sources, group = value.get("sources") or {}, sorted((k, v) for k, v in value.items() if k != "sources" and v is not None)
        yield from ((inner, flat(v), str(sources.get(inner, ""))) for inner, v in group)


def flat(value: Any) -> str:
    """A setting in one line."""
    return value if isinstance(value, str) else json.dumps(value, sort_keys=True, ensure_ascii=False, default=str)
