"""The tables of `rnpc inspect`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from rnpc.cli.inspect import View
    from rnpc.pipeline.inputs import Fact, Inputs
    from rnpc.program import Program


def show(view: View, model: Path, data: Path | None, sites: bool, channels: list[Any] | None) -> None:
    """Everything as tables; with `sites` these alone, with `channels` their facts too."""
    from rich.console import Console

    console = Console(soft_wrap=False, highlight=False)
    if not sites:
        console.print(f"{model.name}  sha256 {view.program.sha256}", markup=False)
        console.print(facts_table(view.facts))
    console.print(sites_table(view.program))
    if channels is not None:
        console.print(channels_table(channels))
    for line in [] if sites else lines(view, data):
        console.print(line, markup=False)
    if view.refusal is not None:
        click.echo(f"rnpc: {view.refusal}", err=True)


def lines(view: View, data: Path | None) -> list[str]:
    """Data, time, warnings, and what is not supported."""
    found = [] if view.inputs is None or data is None else [data_line(view.inputs, data)]
    found += [] if view.seconds is None else [f"harden will take about {duration(view.seconds)}"]
    found += [f"warning: {note}" for note in (view.program.notes if view.inputs is None else view.inputs.notes)]
    return found + [f"not supported: {op} (node {node}, {domain or 'ai.onnx'} opset {v})" for node, domain, op, v in view.unsupported]


def duration(seconds: float) -> str:
    """Seconds in words."""
    return f"{max(1, round(seconds))} s" if seconds < 90 else f"{round(seconds / 60)} minutes"


def facts_table(facts: tuple[Fact, ...]) -> Any:
    """Inferred values."""
    from rich.table import Table
    from rich.text import Text

    table = Table("inferred", "value", "source", title="What is known", title_justify="left")
    for fact in facts:
        table.add_row(Text(fact.name), Text(fact.value), Text(fact.source))
    return table


def sites_table(program: Program) -> Any:
    """Filter sites in topological order."""
    from rich.table import Table
    from rich.text import Text

    title = f"Filter sites: {len(program.sites)}, channels: {program.channels}"
    table = Table("#", "site", "operator", "kind", title=title, title_justify="left")
    table.add_column("channels", justify="right")
    for i, site in enumerate(program.sites):
        table.add_row(str(i), Text(site.value), site.op_type, site.kind, str(site.channels))
    return table


def channels_table(rows: list[Any]) -> Any:
    """Channel facts, a row a value."""
    from rich.table import Table
    from rich.text import Text

    table = Table("value", title="Channels", title_justify="left")
    for head in ("axis", "channels", "constant", "unread"):
        table.add_column(head, justify="right")
    table.add_column("why channels stay, or where the analysis ends")
    for row in rows:
        numbers = ("" if n is None else str(n) for n in (row.axis, row.channels, row.constant, row.dead))
        table.add_row(Text(row.value), *numbers, Text(row.reason))
    return table


def data_line(inputs: Inputs, data: Path) -> str:
    """The data in one line."""
    text = f"{data.name}: {inputs.images.kind}, {len(inputs.images)} images"
    if inputs.accuracy is None:
        return f"{text}, without labels"
    found = inputs.accuracy
    return f"{text}, accuracy {found.value:.2%} (95 % interval {found.low:.2%} to {found.high:.2%}, {inputs.provider})"
