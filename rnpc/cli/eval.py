"""`rnpc eval`: clean accuracy (CA) and attack success rate (ASR) of a model file, measured in onnxruntime, with sample sizes and intervals.

ASR counts triggered images whose true label is not the target (or is the one of `--source`): made by a trigger graph from the clean
images, or given as a folder.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click
import numpy as np

from rnpc import __version__
from rnpc.cli import options
from rnpc.errors import Exit, InputRefused, UsageError

if TYPE_CHECKING:
    from rnpc.pipeline.inputs import Inputs
    from rnpc.stats import Rate

SCHEMA = "rnpc.eval/1"


@dataclass(frozen=True)
class Attack:
    """ASR towards `target` (an index or "next"), what the triggered images came from, and how they were counted."""

    target: int | str
    rate: Rate
    source: str
    counted: str


@dataclass(frozen=True)
class Goal:
    """Where triggered images are to go, and the true class that counts (None: all but the target)."""

    target: int | Literal["next"]
    source: int | None

    @staticmethod
    def of(inputs: Inputs, target: str, source: str | None) -> Goal:
        """What the options name. Raises UsageError for a label that is none, or where target and source are one class."""
        names, count = inputs.images.classes or inputs.names, inputs.program.signature.classes
        goal: Any = options.target_of(target, names, count)
        only: Any = None if source is None else options.target_of(source, names, count, "--source")
        if only == "next" or (only is not None and only == goal):
            raise UsageError(f"--source {source} is no class beside the target", todo="name the class whose images are triggered")
        return Goal(goal, only)

    def counted(self, labels: np.ndarray | None, where: str) -> np.ndarray | slice:
        """The images that count. Raises InputRefused where there are none, or their classes are not known."""
        if self.source is None:
            return slice(None)
        if labels is None:
            raise InputRefused("the images have no labels, which --source asks for", where=where, todo="put them into class folders")
        if not (labels == self.source).any():
            raise InputRefused(f"no image is of class {self.source}", where=where, todo="give images of the class that --source names")
        return np.asarray(labels == self.source)

    def words(self, labels: np.ndarray | None) -> str:
        """Which images count."""
        return counting(labels, self.target) if self.source is None else f"images of class {self.source}"


@click.command("eval")
@click.argument("model", type=options.PLACE)
@click.option("--data", required=True, type=options.PLACE, metavar="DIR", help="Clean images: folder or .npz.")
@click.option("--triggered-data", type=options.PLACE, metavar="DIR", help="Triggered images; class folders are true labels.")
@click.option("--trigger", type=options.PLACE, metavar="ONNX", help="A trigger graph, run on the clean images.")
@click.option("--target", metavar="LABEL", help="Target of the attack: an index, a class name, or `next`.")
@click.option("--source", metavar="LABEL", help="Count triggered images of this class only, for attacks on one class.")
@click.option("--min-ca", type=options.Share(0, 1), help="Exit 1 where CA is lower.")
@click.option("--max-asr", type=options.Share(0, 1), help="Exit 1 where ASR is higher.")
@options.preprocessing_options
@options.model_options
@options.device_options
@options.format_option
def command(
    model: Path,
    data: Path,
    triggered_data: Path | None,
    trigger: Path | None,
    target: str | None,
    source: str | None,
    min_ca: float | None,
    max_asr: float | None,
    flags: Any,
    way: Any,
    device: Any,
    threads: int,
    format: str,
) -> int:
    """Measure clean accuracy and attack success of a model file."""
    check_usage(triggered_data, trigger, target, source, max_asr)
    from rnpc.pipeline import inputs as api_inputs

    with waiting("measuring"):
        inputs = api_inputs.resolve(model, data, flags, device, threads=threads, way=way)
        check_labels(inputs, data, target, min_ca)
        attack = None
        if target is not None:
            attack = measure(inputs, triggered_data, trigger, Goal.of(inputs, target, source), device, threads)
    missed = misses(inputs.accuracy, attack, min_ca, max_asr)
    if format == "json":
        options.echo_json(document(inputs, model, data, attack, {"min_ca": min_ca, "max_asr": max_asr, "missed": missed}))
    else:
        show(inputs, model, data, attack, missed)
    return Exit.FINDING if missed else Exit.OK


def check_usage(triggered: Path | None, trigger: Path | None, target: str | None, source: str | None, max_asr: float | None) -> None:
    """Raises UsageError for options that contradict each other."""
    if triggered is not None and trigger is not None:
        raise UsageError("--triggered-data and --trigger are both given", todo="give one of them")
    attacked = triggered is not None or trigger is not None
    if attacked and target is None:
        raise UsageError("attack success needs a target", todo="add --target LABEL, or --target next")
    if target is not None and not attacked:
        raise UsageError("--target needs triggered images", todo="add --trigger trigger.onnx or --triggered-data DIR")
    if source is not None and not attacked:
        raise UsageError("--source needs triggered images", todo="add --trigger trigger.onnx or --triggered-data DIR")
    if max_asr is not None and not attacked:
        raise UsageError("--max-asr needs triggered images", todo="add --trigger trigger.onnx or --triggered-data DIR")


def check_labels(inputs: Inputs, data: Path, target: str | None, min_ca: float | None) -> None:
    """Raises InputRefused where labels are missing for all that was asked for."""
    if inputs.images.labels is None and (target is None or min_ca is not None):
        todo = "put the images into class folders, or a table metadata.csv beside them"
        raise InputRefused("the images have no labels, so that accuracy cannot be measured", where=str(data), todo=todo)


def waiting(text: str) -> Any:
    """A spinner on standard error, on a terminal only."""
    from rich.console import Console

    return Console(stderr=True).status(text)


def measure(inputs: Inputs, triggered: Path | None, trigger: Path | None, goal: Goal, device: Any, threads: int) -> Attack:
    """ASR by a trigger graph on the clean images, or on a folder of triggered ones."""
    from rnpc import runtime
    from rnpc.pipeline import inputs as api_inputs

    if trigger is not None:
        graph = runtime.Session(read(trigger), device=device, threads=threads, where=trigger.name)
        logits = runtime.predict_triggered(inputs.session, graph, inputs.images, inputs.pre)
        labels, source = inputs.images.labels, trigger.name
    else:
        assert triggered is not None
        logits, labels = from_folder(inputs, triggered)
        source = triggered.name
    rows = goal.counted(labels, source)
    shown = labels if labels is None else labels[rows]
    found = runtime.attack_success(api_inputs.finite(logits[rows], inputs.program.name), shown, goal.target)
    if found.n == 0:
        todo = "class folders are true labels: use them, or a flat folder"
        raise InputRefused("every triggered image has the target as its true label", where=source, todo=todo)
    return Attack(goal.target, found, source, goal.words(labels))


def from_folder(inputs: Inputs, folder: Path) -> tuple[np.ndarray, np.ndarray | None]:
    """Logits and true labels of a folder of triggered images; its class names are read by the rule of the clean images."""
    from rnpc import runtime
    from rnpc.data import classes, images

    signature = inputs.program.signature
    found = images.load(folder, inputs.pre, signature.channels)
    logits = runtime.predict(inputs.session, found, inputs.pre)
    if found.classes is None:
        return logits, None
    if inputs.order is None:
        order = classes.candidates(found.classes, signature.classes, inputs.names, str(folder))[0]
    else:
        order = classes.extend(inputs.order, found.classes, signature.classes, inputs.names, str(folder))
    return logits, order.of(found)


def counting(labels: np.ndarray | None, target: int | str) -> str:
    """Which images ASR counts, in words."""
    if labels is None:
        return "all images, since they have no true labels: those of the target class count as successes"
    return "all images" if target == "next" else "images whose true label is not the target"


def read(path: Path) -> bytes:
    """Bytes of a file. Raises InputRefused."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputRefused(f"cannot be read ({error.strerror})", where=str(path), todo="check the path") from error


def misses(accuracy: Rate | None, attack: Attack | None, min_ca: float | None, max_asr: float | None) -> list[str]:
    """The bounds that are missed, judged by the measured values themselves."""
    missed = []
    if min_ca is not None and (accuracy is None or accuracy.value < min_ca):
        missed.append("min_ca")
    if max_asr is not None and (attack is None or attack.rate.value > max_asr):
        missed.append("max_asr")
    return missed


def document(inputs: Inputs, model: Path, data: Path, attack: Attack | None, bounds: dict[str, Any]) -> dict[str, Any]:
    """The JSON document."""
    return {
        "schema": SCHEMA,
        "rnpc": __version__,
        "model": {"path": model.name, "sha256": inputs.program.sha256},
        "data": {
            "path": data.name,
            "kind": inputs.images.kind,
            "images": len(inputs.images),
            "unreadable": len(inputs.images.unreadable),
            "sha256": inputs.images.digest,
        },
        "provider": inputs.provider,
        "preprocessing": options.preprocessing_json(inputs.pre),
        "class_order": None if inputs.order is None else inputs.order.rule,
        "accuracy": options.rate_json(inputs.accuracy),
        "attack": None if attack is None else attack_json(inputs, attack),
        "bounds": bounds,
        "notes": list(inputs.notes),
    }


def attack_json(inputs: Inputs, attack: Attack) -> dict[str, Any]:
    """ASR with its target."""
    goal = (
        {"index": None, "name": "next"}
        if isinstance(attack.target, str)
        else {"index": attack.target, "name": name_of(inputs, attack.target)}
    )
    return {"target": goal, "source": attack.source, "counted": attack.counted, "success": options.rate_json(attack.rate)}


def name_of(inputs: Inputs, index: int) -> str | None:
    """The name of an output, where it has one."""
    names = inputs.images.classes or inputs.names
    return names[index] if names else None


def show(inputs: Inputs, model: Path, data: Path, attack: Attack | None, missed: list[str]) -> None:
    """The result as text."""
    click.echo(f"{model.name} on {len(inputs.images)} images of {data.name} ({inputs.provider})")
    if inputs.accuracy is not None:
        click.echo(f"  CA   {line(inputs.accuracy)}{'  below --min-ca' if 'min_ca' in missed else ''}")
    if attack is not None:
        goal = attack.target if isinstance(attack.target, str) else f"{attack.target} ({name_of(inputs, attack.target)})"
        click.echo(f"  ASR  {line(attack.rate)}{'  above --max-asr' if 'max_asr' in missed else ''}")
        click.echo(f"       to {goal} by {attack.source}, counted on {attack.counted}")
    for note in inputs.notes:
        click.echo(f"  note: {note}")


def line(found: Rate) -> str:
    """A rate as a line of text."""
    return f"{found.value:7.2%}  ({found.hits} of {found.n}, 95 % interval {found.low:.2%} to {found.high:.2%})"
