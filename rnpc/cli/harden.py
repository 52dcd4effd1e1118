"""`rnpc harden`: find a backdoor in a classifier and prune it out of the ONNX file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from rnpc.cli import options
from rnpc.cli.method_options import MethodCommand, settings_of
from rnpc.defenses import DEFAULT, DEFENSES
from rnpc.detectors import DETECTORS
from rnpc.errors import InputRefused

if TYPE_CHECKING:
    from rnpc.api import Result


class HardenCommand(MethodCommand):
    """Methods come from the registry of defenses."""

    catalogue = DEFENSES
    default = DEFAULT


METHODS = "; ".join(f"{name}: {entry.help}" for name, entry in DEFENSES.entries.items())


@click.command("harden", cls=HardenCommand)
@click.argument("model", type=options.PLACE)
@click.option("--defense-data", "data", required=True, type=options.PLACE, metavar="DIR", help="Clean images, a few hundred.")
@click.option("-o", "--output", "out", type=options.PLACE, metavar="OUT", help="Hardened file [default: MODEL.hardened.onnx].")
@click.option("--max-ca-drop", type=float, help="Largest loss of clean accuracy, as a share [default: 0.02; weak models: to 0.04].")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Draws what is random in the method.")
@click.option("--method", type=click.Choice(DEFENSES.names()), default=DEFAULT, show_default=True, help=METHODS)
@click.option("--detector", type=click.Choice(DETECTORS.names()), help="Whose verdict counts [default: the method's own].")
@click.option("--mode", type=click.Choice(["zero", "remove"]), default="zero", show_default=True, help="Zero channels, or take them out.")
@click.option("--force", is_flag=True, help="Prune whatever the evidence says; the verdict is then null.")
@click.option("--report", type=options.PLACE, metavar="DIR", help="Write report.html and report.json there.")
@click.option("--plan-out", type=options.PLACE, metavar="FILE", help="Write the plan of edits as JSON.")
@click.option("--timings", type=options.PLACE, metavar="FILE", help="Write seconds by stage as JSON.")
@click.option("--fail-on-finding", is_flag=True, help="Exit 1 where a backdoor was found, although a hardened file was written.")
@click.option("--dry-run", is_flag=True, help="Decide and report, but write no model.")
@click.option("-q", "--quiet", is_flag=True, help="No progress and no summary.")
@options.preprocessing_options
@options.model_options
@options.device_options
@options.optimize_option
@options.format_option
def command(
    model: Path, data: Path, out: Path | None, dry_run: bool, plan_out: Path | None, timings: Path | None, format: str, **given: Any
) -> int:
    """Find a backdoor in MODEL and write a hardened copy beside it.

    MODEL is an ONNX file, an exported program (.pt2), or weights with --arch. A clean model is copied byte for byte; an inconclusive
    run writes none.
    """
    from rnpc import api, files, speed
    from rnpc.cli.harden_progress import Progress
    from rnpc.pipeline import inputs

    named = {key: given[key] for key in ("method", "max_ca_drop", "seed", "device", "threads", "force", "mode", "detector", "optimize")}
    settings = api.Settings(**named, options=settings_of(given))
    out = out or model.parent / f"{model.stem}.hardened.onnx"
    beside = [plan_out, timings, *([] if dry_run else [settings.optimize])]
    places = [*([] if dry_run else api.places_of(out, given["way"].arch)), *(place for place in beside if place is not None)]
    files.check_outputs(places, [*inputs.files_of(model, given["flags"]), data])
    speed.keep_memory()
    also = {key: given[key] for key in ("flags", "report", "way")}
    with Progress(hidden=given["quiet"]) as progress:
        result = api.harden_file(model, data, None if dry_run else out, settings, **also, progress=progress)
    write_beside(result, model, plan_out, timings)
    if format == "json":
        options.echo_json(result.document)
    elif not given["quiet"]:
        summary(result, given["report"])
    code = exit_code(result, given["fail_on_finding"])
    if isinstance(result.optimised, InputRefused):
        click.echo(f"rnpc: {result.optimised}", err=True)
        return code or int(result.optimised.exit_code)
    return code


def write_beside(result: Result, model: Path, plan_out: Path | None, timings: Path | None) -> None:
    """The plan (with the tensors that it replaces in a safetensors file beside it) and the timings, where they were asked for."""
    from rnpc import files

    outputs: dict[Path, bytes] = {}
    if plan_out is not None and result.plan is not None:
        outputs[plan_out] = f"{result.plan.to_json()}\n".encode()
        if result.tensors:
            import safetensors.numpy

            outputs[plan_out.with_suffix(".safetensors")] = safetensors.numpy.save(result.tensors)
    if timings is not None:
        outputs[timings] = json.dumps({k: round(v, 3) for k, v in result.timings.items()}, indent=2).encode()
    if outputs:
        files.write_all(outputs, [model])


def exit_code(result: Result, fail_on_finding: bool) -> int:
    """The run's code; a finding counts as one where the user asked for that."""
    found = result.document["verdict"] == "backdoored"
    return 1 if fail_on_finding and found else int(result.exit_code)


def summary(result: Result, report: Path | None) -> None:
    """The outcome in a few lines on standard output."""
    from rnpc.passes.rewrite import kept
    from rnpc.pipeline.edited import optimised_lines
    from rnpc.report.words import describe

    for line in describe(result.document).lines():
        click.echo(line)
    for reason in result.document["reasons"]:
        click.echo(f"  evidence  {reason}")
    for line in kept.lines([(entry["site"], entry["channel"], entry["why"]) for entry in result.document["kept"]]):
        click.echo(f"  kept      {line}")
    for path in result.written:
        click.echo(f"  written   {path}")
    for line in optimised_lines(result.document["optimised"]):
        click.echo(f"  optimised {line}")
    if report is not None:
        click.echo(f"  report    {report / 'report.html'}")
    for note in [*result.document["notes"], *result.document["warnings"]]:
        click.echo(f"  note      {note}")
