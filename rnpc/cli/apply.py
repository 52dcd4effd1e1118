"""`rnpc apply`: write a plan into an ONNX file, whoever or whatever made the plan. Needs neither torch nor onnxruntime."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import click

from rnpc import __version__
from rnpc.cli import options

if TYPE_CHECKING:
    from rnpc.cli.plan_files import ModelFile
    from rnpc.passes.rewrite.apply import Applied
    from rnpc.plan import Mode

SCHEMA = "rnpc.apply/1"
SHOWN = 20
"""Kept channels that the text lists; the JSON document lists all."""


@click.command("apply")
@click.argument("model", type=options.PLACE)
@click.option("--plan", "plan_file", required=True, type=options.PLACE, metavar="FILE", help="The plan, in full or by hand.")
@click.option("--weights", "weights_file", type=options.PLACE, metavar="FILE", help="New values (safetensors) of the tensors it retrains.")
@click.option("--mode", type=click.Choice(["zero", "remove"]), help="Zero the channels or remove them [default: as the plan says].")
@click.option("-o", "--output", "out", required=True, type=options.PLACE, metavar="OUT", help="The file to write.")
@options.format_option
def command(model: Path, plan_file: Path, weights_file: Path | None, mode: str | None, out: Path, format: str) -> int:
    """Write the edits of a plan into a copy of MODEL, an ONNX file.

    The plan is one that `rnpc harden --plan-out` wrote, or is written by hand: {"sites": {"SITE": [3, 7]}}. The same model and plan
    give the same bytes everywhere.
    """
    from rnpc import files
    from rnpc.cli import plan_files
    from rnpc.passes.rewrite.apply import apply
    from rnpc.passes.wire import external

    inputs = [model, plan_file, *([] if weights_file is None else [weights_file])]
    files.check_output(out, inputs)
    source = plan_files.read_model(model)
    files.check_output(out, external.sources(source.raw, model.parent))
    plan = plan_files.read_plan(plan_file, source)
    applied = apply(source.data, plan, plan_files.read_weights(weights_file), cast("Mode | None", mode))
    files.write(out, applied.data, inputs)
    if format == "json":
        options.echo_json(document(source, applied, out))
    else:
        show(source, applied, out)
    return 0


def document(source: ModelFile, applied: Applied, out: Path) -> dict[str, Any]:
    """The JSON document."""
    from rnpc.cli.plan_files import plan_json

    return {
        "schema": SCHEMA,
        "rnpc": __version__,
        "model": {"path": source.path.name, "sha256": source.sha256},
        "plan": plan_json(applied.plan),
        "edits": applied.edits,
        "kept": [{"site": site, "channel": channel, "why": why} for site, channel, why in applied.kept],
        "output": {"path": out.name, "sha256": hashlib.sha256(applied.data).hexdigest()},
        "notes": list(source.notes),
    }


def show(source: ModelFile, applied: Applied, out: Path) -> None:
    """The result as text."""
    from rnpc.cli.plan_files import plan_text

    click.echo(f"{source.path.name}: {plan_text(applied.plan, len(applied.kept))} (plan: {applied.plan.method})")
    for site, channel, why in applied.kept[:SHOWN]:
        click.echo(f"  kept      {site} channel {channel} stays, zeroed: {why}")
    if len(applied.kept) > SHOWN:
        click.echo(f"  kept      ... and {len(applied.kept) - SHOWN} more (--format json lists all)")
    click.echo(f"  written   {out}")
    click.echo(f"  sha256    {hashlib.sha256(applied.data).hexdigest()}")
    for note in source.notes:
        click.echo(f"  note      {note}")
