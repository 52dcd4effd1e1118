"""docs/operators.md, made from the registry: `python -m rnpc.twin.catalog docs/operators.md` writes it, a test holds it up to date."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import rnpc.twin.ops  # noqa: F401  (fills the registry)
from rnpc.passes.canonical.qforms import FORMS, INTEGER
from rnpc.registry import OPSETS, Entry
from rnpc.twin.node import OPERATORS, Factory

HEAD = f"""# Operators

What the twin knows, made from the registry by `python -m rnpc.twin.catalog docs/operators.md`. Models of opset {OPSETS[0]} to
{OPSETS[-1]} are read. A range names the operator's own versions (since_version in the ONNX documentation) that an entry holds for; a
version outside of all ranges is refused, never guessed. So are forms of a known operator that an entry does not know: the error names
the node and the form.

All floats are float32 in the twin. A size stays on the CPU.

| operator | versions | in the twin | file |
| --- | --- | --- | --- |
"""


TAIL = """
## Quantised

These are written with QuantizeLinear, DequantizeLinear and a float operator before a twin is built (`passes.canonical.quantised`).

| operator | domain | becomes |
| --- | --- | --- |
"""


def markdown() -> str:
    """The whole page."""
    return HEAD + "".join(_rows()) + TAIL + "".join(_quantised())


def _quantised() -> Iterator[str]:
    forms = {key: form.op_type for key, form in FORMS.items()} | {("", name): op_type for name, op_type in INTEGER.items()}
    for (domain, name), op_type in sorted(forms.items()):
        yield f"| {name} | {domain or 'ai.onnx'} | {op_type} |\n"


def _rows() -> Iterator[str]:
    for entry in OPERATORS:
        yield f"| {entry.op_type} | {_versions(entry)} | {_what(entry)} | {entry.value.__module__.removeprefix('rnpc.twin.')} |\n"


def _versions(entry: Entry[Factory]) -> str:
    return str(entry.first) if entry.first == entry.last else f"{entry.first} to {entry.last}"


def _what(entry: Entry[Factory]) -> str:
    """The function's docstring, in one table cell."""
    return " ".join((entry.value.__doc__ or "").split()).replace("|", "\\|")


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(markdown(), encoding="utf-8")
