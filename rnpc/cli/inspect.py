"""`rnpc inspect`: what rnpc infers about a model, each value with its source; the filter sites; warnings; what is not supported.

Without images the preprocessing is shown as far as it is stated. With `--defense-data` it is settled and checked by accuracy, as `harden`
would do it; a refusal of the data is shown, too, and becomes the exit code.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from rnpc import __version__
from rnpc.cli import options
from rnpc.errors import Exit, InputRefused, RnpcError, UnsupportedOperator

if TYPE_CHECKING:
    from rnpc.pipeline.inputs import Fact, Inputs
    from rnpc.program import Program

SCHEMA = "rnpc.inspect/1"


@dataclass(frozen=True)
class View:
    """All that is shown. `inputs` where data was given and accepted, `refusal` where something was refused."""

    program: Program
    facts: tuple[Fact, ...]
    unsupported: tuple[tuple[str, str, str, int], ...]
    inputs: Inputs | None
    refusal: RnpcError | None


@click.command("inspect")
@click.argument("model", type=options.PLACE)
@click.option("--defense-data", type=options.PLACE, metavar="DIR", help="Clean images: folder or .npz.")
@options.preprocessing_options
@options.model_options
@options.device_options
@options.format_option
def command(
    model: Path, defense_data: Path | None, flags: Any, arch: str | None, trust: bool, device: Any, threads: int, format: str
) -> int:
    """Print what rnpc infers about a model, with the source of each value."""
    view = look(model, defense_data, flags, arch, trust, device, threads)
    if format == "json":
        options.echo_json(document(view, model, defense_data))
    else:
        show(view, model, defense_data)
    return Exit.OK if view.refusal is None else view.refusal.exit_code


def look(model: Path, data: Path | None, flags: Any, arch: str | None, trust: bool, device: Any, threads: int) -> View:
    """Collect everything; only an unreadable model raises."""
    from rnpc.pipeline import inputs as api_inputs

    program, folder = api_inputs.load_program(model, arch, trust, flags.size)
    inputs: Inputs | None = None
    refusal: RnpcError | None = None
    try:
        facts = api_inputs.known(program, folder, flags)
    except InputRefused as error:
        facts, refusal = api_inputs.model_facts(program), error
    if data is not None and refusal is None:
        try:
            inputs = api_inputs.settle(program, folder, data, flags, device, threads=threads)
            facts = inputs.facts
        except RnpcError as error:
            refusal = error
    return View(program, facts, unsupported(program), inputs, refusal)


def unsupported(program: Program) -> tuple[tuple[str, str, str, int], ...]:
    """Nodes that the twin has no rule for, as (name, domain, operator, opset)."""
    from rnpc import twin

    try:
        twin.build(program.model)
    except UnsupportedOperator as error:
        return tuple(error.nodes)
    return ()


def document(view: View, model: Path, data: Path | None) -> dict[str, Any]:
    """The JSON document."""
    program, inputs = view.program, view.inputs
    images = None
    if inputs is not None and data is not None:
        images = {
            "path": data.name,
            "kind": inputs.images.kind,
            "images": len(inputs.images),
            "unreadable": list(inputs.images.unreadable),
            "sha256": inputs.images.digest,
            "accuracy": options.rate_json(inputs.accuracy),
            "provider": inputs.provider,
        }
    return {
        "schema": SCHEMA,
        "rnpc": __version__,
        "model": {"path": model.name, "sha256": program.sha256},
        "signature": vars(program.signature),
        "facts": [vars(fact) for fact in view.facts],
        "sites": [{"site": s.value, "op_type": s.op_type, "kind": s.kind, "channels": s.channels} for s in program.sites],
        "channels": program.channels,
        "warnings": list(program.notes),
        "unsupported": [{"node": n, "domain": d, "op_type": op, "opset": v} for n, d, op, v in view.unsupported],
        "data": images,
        "refused": None if view.refusal is None else str(view.refusal),
    }


def show(view: View, model: Path, data: Path | None) -> None:
    """The same as tables."""
    from rich.console import Console

    console = Console(soft_wrap=False, highlight=False)
    console.print(f"{model.name}  sha256 {view.program.sha256}", markup=False)
    console.print(facts_table(view.facts))
    console.print(sites_table(view.program))
    if view.inputs is not None and data is not None:
        console.print(data_line(view.inputs, data), markup=False)
    for note in view.program.notes if view.inputs is None else view.inputs.notes:
        console.print(f"warning: {note}", markup=False)
    for node, domain, op, version in view.unsupported:
        console.print(f"not supported: {op} (node {node}, {domain or 'ai.onnx'} opset {version})", markup=False)
    if view.refusal is not None:
        click.echo(f"rnpc: {view.refusal}", err=True)


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


def data_line(inputs: Inputs, data: Path) -> str:
    """The data in one line."""
    text = f"{data.name}: {inputs.images.kind}, {len(inputs.images)} images"
    if inputs.accuracy is None:
        return f"{text}, without labels"
    found = inputs.accuracy
    return f"{text}, accuracy {found.value:.2%} (95 % interval {found.low:.2%} to {found.high:.2%}, {inputs.provider})"
