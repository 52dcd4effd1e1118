"""`rnpc inspect`: what rnpc infers about a model, each value with its source; the filter sites; warnings; what is not supported.

Without images the preprocessing is shown as far as it is stated. With `--defense-data` it is settled and checked by accuracy, and the twin
is proved, as `harden` would do it. Whatever `harden` would refuse before its work is shown, and becomes the exit code.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from rnpc import __version__
from rnpc.cli import inspect_tables, options
from rnpc.errors import Exit, RnpcError, SurroundingsError, UnsupportedOperator

if TYPE_CHECKING:
    from rnpc.pipeline.inputs import Fact, Inputs, Way
    from rnpc.pipeline.settings import Settings
    from rnpc.program import Program

SCHEMA = "rnpc.inspect/1"
T = TypeVar("T")


@dataclass(frozen=True)
class View:
    """All that is shown. `inputs` where data was given and accepted; `refusal`: the first thing that `harden` would refuse; `seconds`: how
    long it would take, roughly, where that is known."""

    program: Program
    facts: tuple[Fact, ...]
    unsupported: tuple[tuple[str, str, str, int], ...]
    inputs: Inputs | None
    refusal: RnpcError | None
    seconds: float | None = None


@click.command("inspect")
@click.argument("model", type=options.PLACE)
@click.option("--defense-data", type=options.PLACE, metavar="DIR", help="Clean images: folder or .npz.")
@click.option("--sites", is_flag=True, help="Only the filter sites, as a plan by hand names them.")
@click.option("--channels", is_flag=True, help="Channel facts: what is constant, what nothing reads, and why channels must stay.")
@options.preprocessing_options
@options.model_options
@options.device_options
@options.format_option
def command(model: Path, defense_data: Path | None, sites: bool, channels: bool, flags: Any, way: Any, format: str, **where: Any) -> int:
    """Print what rnpc infers about a model, with the source of each value."""
    from rnpc.pipeline.settings import Settings

    view = look(model, defense_data, flags, way, Settings(**where))
    rows = channel_rows(view.program) if channels else None
    if format == "json":
        shown = {"sites": sites_json(view.program)} if sites else document(view, model, defense_data)
        options.echo_json(shown if rows is None else {**shown, "values": [vars(row) for row in rows]})
    else:
        inspect_tables.show(view, model, defense_data, sites, rows)
    return Exit.OK if view.refusal is None else view.refusal.exit_code


def look(model: Path, data: Path | None, flags: Any, way: Way, settings: Settings) -> View:
    """Collect everything; only an unreadable model raises."""
    from rnpc import frontends
    from rnpc.passes.facts import intake
    from rnpc.pipeline import inputs as api_inputs
    from rnpc.pipeline.estimate import expected_seconds

    shape = (3, *flags.size) if way.arch is not None and flags.size is not None else None
    program, folder = frontends.load(model, way.arch, way.trust, shape, way.output, study=False), model.parent
    refusals: list[RnpcError] = []
    tried(refusals, lambda: intake.check(program.model, program.name, program.signature.output))
    tried(refusals, lambda: intake.check_original(program.model, program.name))
    unsupported = () if refusals else missing(refusals, program, settings)
    facts = tried(refusals, lambda: api_inputs.known(program, folder, flags)) or api_inputs.model_facts(program)
    if data is None or refusals:
        return View(program, facts, unsupported, None, refusals[0] if refusals else None)
    inputs = tried(refusals, lambda: api_inputs.settle(program, folder, data, flags, settings.device, threads=settings.threads))
    if inputs is None:
        return View(program, facts, unsupported, None, refusals[0])
    tried(refusals, lambda: rehearse(inputs, settings, data))
    seconds = None if refusals else expected_seconds(inputs, settings)
    return View(program, inputs.facts, unsupported, inputs, refusals[0] if refusals else None, seconds)


def tried(refusals: list[RnpcError], step: Callable[[], T]) -> T | None:
    """The step's result; where it is refused, None, and the refusal is kept."""
    try:
        return step()
    except RnpcError as error:
        refusals.append(error)
        return None


def missing(refusals: list[RnpcError], program: Program, settings: Settings) -> tuple[tuple[str, str, str, int], ...]:
    """Nodes that the twin has no rule for, as (name, domain, operator, opset)."""
    from rnpc.pipeline import harden

    tried(refusals, lambda: harden.studied(program, settings))
    return tuple(node for each in refusals if isinstance(each, UnsupportedOperator) for node in each.nodes)


def rehearse(inputs: Inputs, settings: Settings, data: Path) -> None:
    """What `harden` does before its work: prove the twin, draw the images into parts."""
    from rnpc.pipeline import harden

    subject = replace(harden.studied(inputs.program, settings), pre=inputs.pre)
    harden.proved(subject, inputs, settings)
    harden.case_of(subject, inputs, settings.defense(), settings, data)


def channel_rows(program: Program) -> list[Any]:
    """Channel facts of every value. Raises SurroundingsError where this build has no channel analysis."""
    try:
        from rnpc.passes.facts.channels import describe
    except ImportError as error:
        raise SurroundingsError("this build has no channel analysis", where="--channels", todo="install rnpc completely") from error
    return list(describe(program.model))


def sites_json(program: Program) -> list[dict[str, Any]]:
    """Filter sites with their index, in the words that a plan by hand uses."""
    return [
        {"index": k, "site": s.value, "op_type": s.op_type, "kind": s.kind, "channels": s.channels} for k, s in enumerate(program.sites)
    ]


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
        "sites": sites_json(program),
        "channels": program.channels,
        "warnings": list(program.notes),
        "unsupported": [{"node": n, "domain": d, "op_type": op, "opset": v} for n, d, op, v in view.unsupported],
        "data": images,
        "refused": None if view.refusal is None else str(view.refusal),
    }
