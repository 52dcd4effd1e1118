"""`rnpc apply`: write a plan into an ONNX file, whoever or whatever made the plan. Needs neither torch nor onnxruntime."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import click

from rnpc import __version__
from rnpc.cli import options
from rnpc.errors import InputRefused

if TYPE_CHECKING:
    from rnpc.cli.plan_files import ModelFile
    from rnpc.passes.rewrite.apply import Applied
    from rnpc.plan import Mode

SCHEMA = "rnpc.apply/1"


@click.command("apply")
@click.argument("model", type=options.PLACE)
@click.option("--plan", "plan_file", required=True, type=options.PLACE, metavar="FILE", help="The plan, in full or by hand.")
@click.option("--weights", "weights_file", type=options.PLACE, metavar="FILE", help="New values (safetensors) of the tensors it retrains.")
@click.option("--mode", type=click.Choice(["zero", "remove"]), help="Zero the channels or remove them [default: as the plan says].")
@click.option("-o", "--output", "out", required=True, type=options.PLACE, metavar="OUT", help="The file to write.")
@options.optimize_option
@options.format_option
def command(
    model: Path, plan_file: Path, weights_file: Path | None, mode: str | None, out: Path, optimize: Path | None, format: str
) -> int:
    """Write the edits of a plan into a copy of MODEL, an ONNX file.

    The plan is one that `rnpc harden --plan-out` wrote, or is written by hand: {"sites": {"SITE": [3, 7]}}. The same model and plan
    give the same bytes everywhere.
    """
    from rnpc import files
    from rnpc.cli import plan_files
    from rnpc.passes.rewrite.apply import apply
    from rnpc.passes.wire import external

    inputs = [model, plan_file, *([] if weights_file is None else [weights_file])]
    places = [out, *([] if optimize is None else [optimize])]
    files.check_outputs(places, inputs)
    source = plan_files.read_model(model)
    files.check_outputs(places, external.sources(source.raw, model.parent))
    plan = plan_files.read_plan(plan_file, source)
    weights = plan_files.read_weights(weights_file)
    with plan_files.called({"model": model, "plan": plan_file, "weights": weights_file}):
        applied = apply(source.data, plan, weights, cast("Mode | None", mode))
    entry, second, error = (None, {}, None) if optimize is None else optimised(applied.data, optimize)
    files.write_all({out: applied.data, **second}, inputs)
    if format == "json":
        options.echo_json({**document(source, applied, out), "optimised": entry})
    else:
        show(source, applied, out, entry)
    if error is None:
        return 0
    click.echo(f"rnpc: {error}", err=True)
    return int(error.exit_code)


def optimised(data: bytes, place: Path) -> tuple[dict[str, Any], dict[Path, bytes], InputRefused | None]:
    """The second file, proved on random images: the document's entry, what is to be written, and why there is none."""
    from rnpc.pipeline.optimise import optimise, refused_json

    try:
        found = optimise(data, where=str(place))
    except InputRefused as error:
        return refused_json(place.name, error), {}, error
    return found.json(place.name), {place: found.data}, None


def document(source: ModelFile, applied: Applied, out: Path) -> dict[str, Any]:
    """The JSON document, but for the optimised copy."""
    from rnpc.cli.plan_files import plan_json
    from rnpc.passes.rewrite import kept

    return {
        "schema": SCHEMA,
        "rnpc": __version__,
        "model": {"path": source.path.name, "sha256": source.sha256},
        "plan": plan_json(applied.plan),
        "edits": applied.edits,
        "kept": kept.listed(applied.kept),
        "output": {"path": out.name, "sha256": hashlib.sha256(applied.data).hexdigest()},
        "notes": list(source.notes),
    }


def show(source: ModelFile, applied: Applied, out: Path, entry: dict[str, Any] | None = None) -> None:
    """The result as text."""
    from rnpc.cli.plan_files import plan_text
    from rnpc.passes.rewrite import kept
    from rnpc.pipeline.edited import optimised_lines

    click.echo(f"{source.path.name}: {plan_text(applied.plan, len(applied.kept))} (plan: {applied.plan.method})")
    for line in kept.lines(applied.kept):
        click.echo(f"  kept      {line}")
    click.echo(f"  written   {out}")
    click.echo(f"  sha256    {hashlib.sha256(applied.data).hexdigest()}")
    for line in optimised_lines(entry):
        click.echo(f"  optimised {line}")
    for note in source.notes:
        click.echo(f"  note      {note}")
