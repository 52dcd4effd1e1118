"""`rnpc verify`: whether a hardened file is its original with the declared edits and nothing else.

The rewrite is done again and the bytes are compared; no model is run. With `--data` the zeroed, the removed and the hardened graph are run
side by side as well.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from rnpc import __version__
from rnpc.cli import options
from rnpc.errors import Exit

if TYPE_CHECKING:
    from rnpc.cli.plan_files import ModelFile
    from rnpc.cli.verify_outputs import Outputs
    from rnpc.passes.rewrite.verify import Verified

SCHEMA = "rnpc.verify/1"
SHOWN = 20
"""Differences that the text lists; the JSON document lists all."""


@click.command("verify")
@click.argument("original", type=options.PLACE)
@click.argument("hardened", type=options.PLACE)
@click.option("--plan", "plan_file", type=options.PLACE, metavar="FILE", help="A plan that you trust [default: the file's own].")
@click.option("--weights", "weights_file", type=options.PLACE, metavar="FILE", help="New values (safetensors) of retrained tensors.")
@click.option("--data", type=options.PLACE, metavar="DIR", help="Images on which the graphs are run side by side.")
@click.option("--require-hardened", is_flag=True, help="Exit 1 where the file is the original, unchanged.")
@options.preprocessing_options
@options.device_options
@options.format_option
def command(
    original: Path, hardened: Path, plan_file: Path | None, weights_file: Path | None, data: Path | None, require_hardened: bool,
    flags: Any, device: Any, threads: int, format: str,
) -> int:  # fmt: skip
    """Check that HARDENED is ORIGINAL with the edits of a plan, and say exactly what else differs.

    Exit 0: as declared. 1: anything else. 3: a file or plan that cannot be read.
    """
    from rnpc.cli import plan_files
    from rnpc.passes.rewrite.verify import verify

    source = plan_files.read_model(original)
    found_bytes = plan_files.read_bytes(hardened)
    if found_bytes == source.raw:  # a copy: its external data has to be a copy too
        found_bytes, _ = plan_files.inlined(found_bytes, hardened)
    plan = None if plan_file is None else plan_files.read_plan(plan_file, source)
    weights = plan_files.read_weights(weights_file)
    with plan_files.called({"hardened file": hardened, "model": original, "plan": plan_file, "weights": weights_file}):
        found = verify(source.data, found_bytes, plan, weights, require_hardened=require_hardened)
    outputs = None
    if data is not None:
        from rnpc.cli.verify_outputs import side_by_side

        outputs = side_by_side(original, source, found_bytes, found, data, flags, device, threads)
    failed = bool(found.differences) or (outputs is not None and bool(outputs.differences))
    if format == "json":
        options.echo_json(document(source, hardened, found_bytes, found, outputs))
    else:
        show(source, hardened, found, outputs)
    return Exit.FINDING if failed else Exit.OK


def document(source: ModelFile, hardened: Path, data: bytes, found: Verified, outputs: Outputs | None) -> dict[str, Any]:
    """The JSON document."""
    from rnpc.cli.plan_files import plan_json

    return {
        "schema": SCHEMA,
        "rnpc": __version__,
        "result": found.result if outputs is None or not outputs.differences else "different",
        "original": {"path": source.path.name, "sha256": source.sha256},
        "hardened": {"path": hardened.name, "sha256": hashlib.sha256(data).hexdigest()},
        "plan": None if found.plan is None else {"declared": found.source, **plan_json(found.plan)},
        "seal": {None: None, True: "intact", False: "broken"}[found.seal],
        "edits": found.edits,
        "differences": [{**vars(d), "where": list(d.where)} for d in found.differences],
        "outputs": None if outputs is None else outputs.json(),
        "notes": [*source.notes, *notes(found)],
    }


def notes(found: Verified) -> list[str]:
    """What the result does not say."""
    if found.source != "self-declared":
        return []
    return ["the plan is the file's own: it says what was done, not that this was to be done; give one that you trust with --plan"]


def show(source: ModelFile, hardened: Path, found: Verified, outputs: Outputs | None) -> None:
    """The result as text."""
    from rnpc.cli.plan_files import plan_text

    said = {
        "verified": f"verified: {hardened.name} is {source.path.name} with the declared edits and nothing else",
        "unchanged": f"unchanged: {hardened.name} is {source.path.name}, and there is no plan",
        "different": f"different: {hardened.name} is not {source.path.name} with the declared edits",
    }
    click.echo(said[found.result])
    if found.plan is not None:
        seal = {None: "", True: ", seal intact", False: ", seal BROKEN"}[found.seal]
        click.echo(f"  plan      {found.source}{seal}: {plan_text(found.plan, len(found.kept))} ({found.plan.method})")
    for difference in found.differences[:SHOWN]:
        click.echo(f"  differs   {difference}")
    if len(found.differences) > SHOWN:
        click.echo(f"  differs   ... and {len(found.differences) - SHOWN} more (--format json lists all)")
    for line in [] if outputs is None else outputs.lines():
        click.echo(f"  outputs   {line}")
    for note in [*source.notes, *notes(found)]:
        click.echo(f"  note      {note}")
