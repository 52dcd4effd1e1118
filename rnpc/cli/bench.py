"""`rnpc bench`: harden a set of victims and tabulate the results."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from rnpc.cli import options
from rnpc.errors import Exit, UsageError

if TYPE_CHECKING:
    from rnpc.bench.spec import BenchSpec


@click.group("bench", short_help="Harden a set of victims and tabulate the results.")
def command() -> None:
    """Run a protocol over many victims and make a table of it."""


@command.command("harden")
@click.argument("spec", type=options.Place(readable=False, path_type=str))
@click.option("--data-root", type=options.PLACE, metavar="DIR", help="Folder that holds the data sets (mnist needs none).")
@click.option("--out", required=True, type=options.PLACE, metavar="DIR", help="Victims, results and tables; may be shared.")
@click.option("--jobs", type=click.IntRange(1), default=1, show_default=True, help="Processes at a time.")
@click.option("--threads", type=click.IntRange(1), default=1, show_default=True, help="Threads of each; part of what results are kept by.")
@click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto", show_default=True, help="Where to run.")
@click.option("--only", multiple=True, metavar="N[-M][,...]", help="Only these victims, numbered from 1 as in SPEC.")
@click.option("--no-train", is_flag=True, help="Leave out victims that are not there instead of training them.")
@options.format_option
def harden(
    spec: str,
    data_root: Path | None,
    out: Path,
    jobs: int,
    threads: int,
    device: Any,
    only: tuple[str, ...],
    no_train: bool,
    format: str,
) -> int:
    """Harden the victims of SPEC (a TOML file, or the built-in choose, judge or low), and measure what that did.

    What is done is kept by its content and not done again, however a run ended. Exits 1 where a cell failed.
    """
    from rnpc import files
    from rnpc.bench import outputs
    from rnpc.bench import spec as specs
    from rnpc.bench.cell import Settings
    from rnpc.bench.engines.local import LocalEngine
    from rnpc.bench.run import Bench
    from rnpc.cli.bench_progress import Board

    bench = specs.load(spec)
    chosen = numbers(only, len(bench.victims))
    files.make_folder(out)
    run = Bench(bench, data_root, out.resolve(), Settings(device, threads))
    engine = LocalEngine(jobs, threads)
    try:
        with Board() as board:
            run.run(engine, chosen, not no_train, board.show)
    finally:
        engine.close()
    folder = run.store.tables(bench.name)
    summary = outputs.write(folder, bench.name, run.results())
    if format == "json":
        options.echo_json(summary)
    else:
        click.echo(text(bench, summary, folder))
    return Exit.FINDING if summary["cells"]["failed"] or board.failed else Exit.OK


def numbers(only: tuple[str, ...], victims: int) -> list[int]:
    """Numbers of victims as given, `1,3-5` and the like, in rising order. Raises UsageError."""
    found: set[int] = set()
    for part in ",".join(only).split(",") if only else ():
        match = re.fullmatch(r"(\d+)(?:-(\d+))?", part.strip())
        low, high = (int(match[1]), int(match[2] or match[1])) if match else (0, 0)
        if not 1 <= low <= high <= victims:
            raise UsageError(f"{part!r} names no victim", where="--only", todo=f"choose 1 to {victims}, such as 2 or 1,3-5")
        found.update(range(low, high + 1))
    return sorted(found)


def text(bench: BenchSpec, summary: dict[str, Any], folder: Path) -> str:
    """What is to be told at the end."""
    counts = summary["cells"]
    lines = [f"{bench.name}: {counts['done']} of {counts['all']} cells done, {counts['failed']} failed, {counts['not_run']} not run"]
    for group in summary["groups"]:
        asr, drop = group["asr_after"], group["ca_drop_backdoored"]
        said = [] if asr is None else [f"ASR {asr['mean']:.1%}, worst {asr['worst']['value']:.1%}", f"CA drop {drop['mean']:.1%}"]
        shares = (("right labels", "label_right"), ("clean untouched", "clean_untouched"))
        said += [f"{name} {s['hits']} of {s['cells']}" for name, key in shares if (s := group[key]) is not None]
        lines.append(f"  {group['method']}, {group['form']}: {'; '.join(said)}")
    return "\n".join([*lines, f"Tables  {folder}"])
