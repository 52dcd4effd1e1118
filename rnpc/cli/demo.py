"""`rnpc demo`: harden the backdoored digit classifier that ships with the package, and measure what that did.

Hardening sees the model and its clean images, as in real life. The trigger and the test images come afterwards, to measure CA and ASR of
both files; the report is written last, so that it can show them.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from rnpc.cli import options

if TYPE_CHECKING:
    from rich.table import Table

    from rnpc.stats import Rate

TARGET = 7
"""The label that the demo's backdoor leads to; used for measuring only."""


@click.command("demo")
@click.option("-o", "--out", type=options.PLACE, default=Path("rnpc-demo"), show_default=True, metavar="DIR")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Draws what is random in the method.")
@options.device_options
def command(out: Path, seed: int, device: Any, threads: int) -> int:
    """Harden an embedded backdoored model, offline, in a minute.

    Writes the hardened model and the report into DIR.
    """
    from rich.console import Console

    from rnpc import api, files, report
    from rnpc.cli.harden_progress import Progress

    console, data = Console(highlight=False, soft_wrap=True), folder()
    settings = api.Settings(seed=seed, device=device, threads=threads)
    files.make_folder(out)
    model, hardened = data / "model.onnx", out / "model.hardened.onnx"
    console.print("A classifier of handwritten digits from someone else, and 500 clean digits of our own. Can it be trusted?")
    with Progress() as progress:
        result = api.harden_file(model, data / "clean.npz", hardened, settings, progress=progress)
    with Console(stderr=True).status("measuring on 1,000 test digits, now with the trigger"):
        before = measure(model, device, threads)
        after = None if result.data is None else measure(hardened, device, threads)
    document = {**result.document, "attack_success": attack_entry(before[1], after and after[1])}
    written = report.write(out / "report", document, result.panels)
    console.print(f"\n{verdict(document)}\n")
    console.print(table(before, after))
    console.print(f"Hardened model  {hardened if after else 'none'}\nReport          {written['html']}")
    return int(result.exit_code)


def folder() -> Path:
    """Where the demo's files are."""
    from rnpc.models import demo

    return Path(demo.__file__).parent


def measure(model: Path, device: Any, threads: int) -> tuple[Rate, Rate]:
    """CA and ASR of a model file on the demo's test digits, in onnxruntime."""
    from rnpc import runtime
    from rnpc.data.infer import Flags
    from rnpc.pipeline import inputs as api_inputs

    data = folder()
    flags = Flags(preprocess=data / "preprocessor_config.json")
    inputs = api_inputs.resolve(model, data / "test.npz", flags, device, threads=threads)
    trigger = runtime.Session((data / "trigger.onnx").read_bytes(), device=device, threads=threads, where="trigger.onnx")
    triggered = runtime.predict_triggered(inputs.session, trigger, inputs.images, inputs.pre)
    assert inputs.images.labels is not None
    clean, success = runtime.accuracy(inputs.logits, inputs.images.labels), runtime.attack_success(triggered, inputs.images.labels, TARGET)
    return clean, success


def attack_entry(before: Rate, after: Rate | None) -> dict[str, Any]:
    """Attack success as the report shows it; `after` is None where no file was written."""
    last = after or before
    return {"before": before.value, "after": after and after.value, "interval": [last.low, last.high], "images": last.n}


def verdict(document: dict[str, Any]) -> str:
    """The verdict in a few sentences."""
    from rnpc.report.words import describe

    return "\n".join(describe(document).lines())


def table(before: tuple[Rate, Rate], after: tuple[Rate, Rate] | None) -> Table:
    """CA and ASR before and after, with intervals; without the latter where no file was written."""
    from rich.table import Table

    last = after or before
    heads = ("", "before", "after", "95 % interval" + (" after" if after else ""))
    grid = Table(*heads, title="on test digits that hardening never saw", title_justify="left")
    for name, old, new in zip(("clean accuracy (CA)", "attack success (ASR)"), before, last, strict=True):
        interval = f"{new.low:.1%} to {new.high:.1%} ({new.n} images)"
        grid.add_row(name, f"{old.value:.1%}", f"{new.value:.1%}" if after else "no file", interval)
    return grid
