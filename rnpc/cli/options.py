"""Options that several commands share, each a decorator: preprocessing, device and threads, output format, the way in.

Nothing heavy is imported here before a command runs.
"""

from __future__ import annotations

import functools
import json
import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from rnpc.errors import UsageError

if TYPE_CHECKING:
    from rnpc.program import Preprocessing
    from rnpc.stats import Rate

Command = Callable[..., Any]
THREADS = 2


class Share(click.FloatRange):
    """A share; nan, which lies in every range for click and misses no bound, is none."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        found = super().convert(value, param, ctx)
        if math.isnan(found):
            self.fail(f"{value!r} is no number", param, ctx)
        return found


class Place(click.Path):
    """A path. An empty text, which a script's unset variable gives, would be the working folder."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if value == "":
            self.fail("an empty path", param, ctx)
        return super().convert(value, param, ctx)


PLACE = Place(readable=False, path_type=Path)  # whether it can be read is told by what reads it, with its own exit code


def numbers(_: click.Context, __: click.Parameter, value: str | None) -> tuple[float, ...] | None:
    """One number, or one a channel: `0.5` or `0.485,0.456,0.406`."""
    if value is None:
        return None
    try:
        return tuple(float(part) for part in re.split(r"[,\s]+", value.strip()))
    except ValueError:
        raise click.BadParameter(f"{value!r} is no list of numbers such as 0.5,0.5,0.5") from None


def size_of(_: click.Context, __: click.Parameter, value: str | None) -> tuple[int, int] | None:
    """A square or height x width: `32` or `224x256`."""
    if value is None:
        return None
    found = re.fullmatch(r"([1-9]\d*)(?:[x,]([1-9]\d*))?", value.strip())
    if found is None:
        raise click.BadParameter(f"{value!r} is no size such as 32 or 224x256")
    return int(found[1]), int(found[2] or found[1])


def preprocessing_options(command: Command) -> Command:
    """--preprocess, --mean, --std, --size, --layout; the command gets them as one `flags: rnpc.data.infer.Flags`."""

    @click.option("--preprocess", type=PLACE, metavar="FILE", help="A preprocessor_config.json, or timm's config.json.")
    @click.option("--mean", callback=numbers, metavar="NUMBERS", help="Mean a channel, of pixels in [0, 1] (above 2: in 0..255).")
    @click.option("--std", callback=numbers, metavar="NUMBERS", help="Standard deviation a channel, in the same units.")
    @click.option("--size", callback=size_of, metavar="SIZE", help="Input size where the model leaves it open: 32 or 224x256.")
    @click.option("--layout", type=click.Choice(["NCHW", "NHWC"], case_sensitive=False), help="Order of the input's axes.")
    @functools.wraps(command)
    def wrapped(*args: Any, preprocess: Path | None, mean: Any, std: Any, size: Any, layout: Any, **kwargs: Any) -> Any:
        from rnpc.data.infer import Flags

        return command(*args, flags=Flags(preprocess, mean, std, size, layout), **kwargs)

    return wrapped


def device_options(command: Command) -> Command:
    """--device and --threads, as `device: str` and `threads: int`."""
    device = click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto", show_default=True, help="Where to run.")
    threads = click.option(
        "--threads", type=click.IntRange(1), default=THREADS, show_default=True, help="Threads; results are reproducible for one count."
    )
    return device(threads(command))


def model_options(command: Command) -> Command:
    """--arch and --trust, for models that are no ONNX file, and --output-name for one with several outputs; the command gets them as one
    `way: rnpc.pipeline.inputs.Way`."""

    @click.option("--arch", metavar="NAME", help="Architecture of a weights file: a name, or package.module:factory.")
    @click.option("--trust", is_flag=True, help="Load a .pt2 archive that holds pickled objects (they can run code).")
    @click.option("--output-name", metavar="NAME", help="The graph output that holds the scores, where there are several.")
    @functools.wraps(command)
    def wrapped(*args: Any, arch: str | None, trust: bool, output_name: str | None, **kwargs: Any) -> Any:
        from rnpc.pipeline.inputs import Way

        return command(*args, way=Way(arch, trust, output_name), **kwargs)

    return wrapped


def optimize_option(command: Command) -> Command:
    """--optimize, as `optimize: Path | None`."""
    return click.option(
        "--optimize",
        type=PLACE,
        metavar="FILE",
        help="Write a second file too, cleaned up for deployment (BatchNorm and constants folded); `verify` does not cover it.",
    )(command)


def format_option(command: Command) -> Command:
    """--format text|json, as `format: str`."""
    return click.option(
        "--format", type=click.Choice(["text", "json"]), default="text", show_default=True, help="What standard output holds."
    )(command)


def echo_json(document: dict[str, Any]) -> None:
    """Print one JSON document; the same document gives the same bytes."""
    click.echo(json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False))


def rate_json(found: Rate | None) -> dict[str, Any] | None:
    """A rate as value, interval and count; None where nothing was measured."""
    if found is None or found.n == 0:
        return None
    return {"value": round(found.value, 6), "interval": [round(found.low, 6), round(found.high, 6)], "hits": found.hits, "images": found.n}


def preprocessing_json(pre: Preprocessing) -> dict[str, Any]:
    """Every field, and the source of those that were inferred."""
    fields = {name: list(value) if isinstance(value, tuple) else value for name, value in vars(pre).items() if name != "sources"}
    return {**fields, "sources": dict(pre.sources)}


def target_of(text: str, classes: tuple[str, ...] | None, outputs: int, where: str = "--target") -> int | str:
    """A target as output index, or "next". A class name counts before a number. Raises UsageError."""
    if text == "next":
        return text
    if classes is not None and classes.count(text) == 1:
        return classes.index(text)
    if text.isascii() and text.isdigit() and int(text) < outputs:
        return int(text)
    raise UsageError(f"{text!r} is neither a class nor an index below {outputs}", where=where, todo="run `rnpc inspect` for the labels")
