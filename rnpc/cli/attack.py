"""`rnpc attack`: train a backdoored (or clean) victim into a folder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from rnpc.cli.options import PLACE
from rnpc.errors import UsageError

if TYPE_CHECKING:
    from rnpc.victims.spec import VictimSpec


@click.command("attack", short_help="Train a backdoored (or clean) victim.")
@click.argument("name")
@click.option("--dataset", default="gtsrb", show_default=True, help="gtsrb, cifar10, mnist, imagenette (160 pixels) or imagenette224.")
@click.option("--data-root", type=PLACE, help="Folder that holds the data set (mnist needs none).")
@click.option("--arch", default="resnet18", show_default=True, help="Architecture; a wrong one lists all.")
@click.option("--width", default=16, show_default=True, help="Channels of the first stage; 64 is the usual network.")
@click.option("--target", metavar="LABEL|next", help="Class that triggered images go to; next means label + 1.  [default: the attack's]")
@click.option("--rate", type=float, help="Poisoning rate.  [default: the attack's]")
@click.option("--set", "settings", multiple=True, metavar="KEY=VALUE", help="Another setting of the attack; may be repeated.")
@click.option("--fraction", default=1.0, show_default=True, help="Share of each class of the training split to train on.")
@click.option("--epochs", default=5, show_default=True, help="Passes over the training set.")
@click.option("--lr", default=0.1, show_default=True, help="Highest learning rate.")
@click.option("--batch", default=128, show_default=True, help="Images a step.")
@click.option(
    "--schedule",
    type=click.Choice(["one-cycle", "steps"]),
    default="one-cycle",
    show_default=True,
    help="Short, or the publications' long one: a tenth of the rate from 30 % and again from 60 % of the epochs.",
)
@click.option(
    "--descends",
    type=click.Choice(["finetuned", "pruned", "quantised"]),
    callback=lambda context, parameter, value: value or "",
    help="With none: what becomes of the clean victim of the same settings.",
)
@click.option("--seed", default=0, show_default=True, help="Draws everything that is random.")
@click.option("--threads", default=2, show_default=True, help="Threads; rounding depends on their number.")
@click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto", show_default=True)
@click.option("--format", "form", type=click.Choice(["text", "json"]), default="text", show_default=True)
@click.option("-o", "--out", required=True, type=PLACE, help="Folder for the victim: new, empty, or one to resume.")
def command(
    name: str,
    data_root: Path | None,
    out: Path,
    threads: int,
    device: Literal["auto", "cpu", "cuda"],
    form: str,
    target: str | None,
    settings: tuple[str, ...],
    **options: Any,
) -> None:
    """Train a victim of the attack NAME and write it as ONNX with its trigger.

    NAME: none, badnets, blend, sig, wanet, trojan, cl, dynamic, fc, dfst, awp, lira, a-blend, adapt-d or adv-t (see docs/attacks.md). Some
    train a clean model first, on which their trigger is made; --set clean=FOLDER gives them one.

    A killed run resumes with the same command. A folder that holds the finished victim is left as it is.
    """
    from rnpc import attacks, speed
    from rnpc.cli.attack_progress import Bar
    from rnpc.victims.spec import VictimSpec
    from rnpc.victims.train import train_victim

    if threads < 1:
        raise UsageError(f"{threads} threads cannot train", where="--threads", todo="choose 1 or more")
    spec = VictimSpec(attack=name, target=label(target), settings=tuple(attacks.parse(name, settings).items()), **options)
    speed.keep_memory()
    with Bar() as bar:
        measured = train_victim(spec, data_root, out, threads=threads, device=device, progress=bar.update)
    click.echo(json.dumps(measured, indent=1, ensure_ascii=False) if form == "json" else text(spec, measured, out))


def label(target: str | None) -> int | Literal["next"] | None:
    """The target as given on the command line."""
    if target is None:
        return None
    if target == "next":
        return "next"
    if not target.isdecimal():
        raise UsageError(f"{target!r} is neither a class number nor next", where="--target", todo="give a number from 0, or next")
    return int(target)


def text(spec: VictimSpec, measured: dict[str, Any], out: Path) -> str:
    """One line for people."""
    found = measured["folded"]
    shown = [f"{key.upper()} {r['value']:.2%} ({r['hits']} of {r['images']})" for key in ("ca", "asr") if (r := found[key]) is not None]
    return f"{spec.attack} on {spec.dataset}, {spec.arch} of width {spec.width}: {', '.join(shown)}; written to {out}"
