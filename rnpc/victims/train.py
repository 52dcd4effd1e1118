"""Trains a victim and writes it: the protocol shared by all attacks and by the clean models they are compared with.

SGD with Nesterov momentum 0.9, weight decay 5e-4, batches of 128, one-cycle learning rate up to 0.1, shifts by two pixels (and mirroring on
CIFAR-10). The published attacks train for 100 to 1,000 epochs at piecewise constant rates; a few one-cycle epochs reach the same
accuracy to about a point in minutes, and `schedule = "steps"` trains as the publications do. Same spec, seed, thread count and machine:
same bytes. An attack that needs a clean model trains one by the same protocol first, in the scratch folder, where a killed run finds it
again.

Every epoch ends in a checkpoint that is moved into place, so a killed run goes on where it was. `measured.json` is written last and marks a
finished victim.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from safetensors.torch import save as save_safetensors

from rnpc.data import contents, datasets
from rnpc.data.datasets import Dataset
from rnpc.errors import SurroundingsError, UsageError
from rnpc.files import kind, make_folder, unwritable, write_all
from rnpc.victims import export
from rnpc.victims.lineage import clean_model
from rnpc.victims.loop import Progress, Trainer
from rnpc.victims.measure import difference, measure
from rnpc.victims.spec import VictimSpec

SCRATCH = ".training"
SPEC, MEASURED = "spec.json", "measured.json"
__all__ = ["Progress", "VictimSpec", "finished", "subset", "train_victim"]


@dataclass(frozen=True)
class Surroundings:
    """What a run is free to choose without changing the spec; the thread count does change rounding, and is reported."""

    threads: int
    device: Literal["cpu", "cuda"]


def train_victim(
    spec: VictimSpec,
    data_root: str | Path | None,
    out: str | Path,
    *,
    threads: int = 2,
    device: Literal["auto", "cpu", "cuda"] = "auto",
    progress: Callable[[Progress], None] | None = None,
) -> dict[str, Any]:
    """Train the victim of `spec` into the folder `out` and return what `measured.json` holds.

    A folder that already holds the finished victim of this spec is left as it is; one that holds its unfinished training goes on from
    the last epoch. Raises UsageError where `out` holds something else or the attack does not fit the data, InputRefused without data,
    SurroundingsError where `out` cannot be written.
    """
    folder = Path(out)
    done = finished(spec, folder)
    if done is not None:
        return done
    check_folder(spec, folder)
    data = datasets.load(spec.dataset, None if data_root is None else Path(data_root))
    attack = spec.checked(len(data.classes), data.shape)
    where = Surroundings(threads, pick(device))
    torch.set_num_threads(threads)
    rows = subset(data.train_labels, spec.fraction, spec.seed)
    trainer = Trainer(spec, attack, data, rows, where.device, folder / SCRATCH / "checkpoint.pt")
    # Nothing is written before everything that can be wrong with the request has been looked at.
    make_folder(folder / SCRATCH)
    write_all({folder / SPEC: (spec.to_json() + "\n").encode()})
    report = progress or (lambda event: None)

    def train(forebear: VictimSpec, place: Path) -> None:
        train_victim(forebear, data_root, place, threads=threads, device=device, progress=lambda event: report(aside(event)))

    trainer.clean = lambda given: clean_model(spec, data, given, folder / SCRATCH / "clean", train).to(where.device)
    trainer.run(report)
    return write(folder, data, trainer, where, report)


def aside(event: Progress) -> Progress:
    """An event from the training of a clean model that an attack needs."""
    return Progress(**{**vars(event), "stage": "clean"})


def finished(spec: VictimSpec, folder: Path) -> dict[str, Any] | None:
    """`measured.json` of the finished victim of this spec, or None; its files are those that were measured, byte for byte."""
    try:
        measured: dict[str, Any] = json.loads((folder / MEASURED).read_text())
        whole = all(contents.of_file(folder / name) == entry["sha256"] for name, entry in measured["files"].items())
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return measured if whole and measured.get("spec") == json.loads(spec.to_json()) else None


def check_folder(spec: VictimSpec, folder: Path) -> None:
    """Raises UsageError where the folder holds anything but unfinished training of this spec."""
    if kind(folder, unwritable) != "folder":
        return
    try:
        held = sorted(p.name for p in folder.iterdir())
    except OSError as error:
        raise unwritable(str(folder), error) from error
    if SPEC in held and (folder / SPEC).read_bytes() == (spec.to_json() + "\n").encode():
        return
    if SPEC in held:
        raise UsageError("the output folder holds a victim of other settings", where=str(folder), todo="choose a new or empty folder")
    if held:
        what = f"the output folder holds something else ({', '.join(held[:3])}{', ...' if len(held) > 3 else ''})"
        raise UsageError(what, where=str(folder), todo="choose a new or empty folder")


def pick(device: Literal["auto", "cpu", "cuda"]) -> Literal["cpu", "cuda"]:
    """The device to train on. Raises SurroundingsError where CUDA is asked for and torch has none."""
    if device == "cuda" and not torch.cuda.is_available():
        raise SurroundingsError("torch finds no CUDA device", where="--device cuda", todo="run `rnpc doctor`, or use --device cpu")
    return "cuda" if device != "cpu" and torch.cuda.is_available() else "cpu"


def subset(labels: np.ndarray, fraction: float, seed: int) -> np.ndarray:
    """Indices of a random `fraction` of each class (at least one image a class), in rising order."""
    if fraction == 1.0:
        return np.arange(len(labels))
    rng = np.random.default_rng([seed, 1])
    groups = [np.flatnonzero(labels == label) for label in np.unique(labels)]
    return np.sort(np.concatenate([rng.permutation(rows)[: max(1, round(fraction * len(rows)))] for rows in groups]))


def write(folder: Path, data: Dataset, trainer: Trainer, where: Surroundings, progress: Callable[[Progress], None]) -> dict[str, Any]:
    """Write all files of a trained victim, measure what was written, and remove the checkpoint."""
    progress(Progress("export"))
    spec = trainer.spec
    module = trainer.loop.module()
    folded, kept = export.network(trainer.plain_model(), data.shape)
    files = {
        "folded.onnx": folded,
        "batchnorm.onnx": kept,
        "weights.safetensors": weights(spec, data, trainer),
        "preprocessor_config.json": pretty(preprocessor_config(data)),
        "labels.json": pretty(list(data.classes)),
    }
    if module is not None:
        files |= {"trigger.onnx": export.trigger(module, data.shape), **trainer.loop.files()}
    write_all({folder / name: content for name, content in files.items()})
    progress(Progress("measure"))
    written = (folder / "folded.onnx").read_bytes()
    trigger = (folder / "trigger.onnx").read_bytes() if module is not None else None
    measured = {
        "schema": "rnpc.victim/1",
        "spec": json.loads(spec.to_json()),
        "attack": {"name": trainer.attack.name, **trainer.attack.settings()} if module is not None else {"name": "none"},
        "folded": measure(written, trigger, trainer.attack, data, threads=where.threads, device=where.device),
        "batchnorm_against_folded": difference(written, (folder / "batchnorm.onnx").read_bytes(), data, threads=where.threads),
        "training": {**trainer.summary(), "threads": where.threads, "device": where.device, "torch": torch.__version__},
        "files": {name: {"bytes": len(c), "sha256": hashlib.sha256(c).hexdigest()} for name, c in files.items()},
    }
    write_all({folder / MEASURED: pretty(measured)})
    shutil.rmtree(folder / SCRATCH, ignore_errors=True)
    return measured


def weights(spec: VictimSpec, data: Dataset, trainer: Trainer) -> bytes:
    """The state dict as safetensors, with the architecture as JSON in its metadata (one entry: the format keeps no order of several)."""
    state = {k: v.detach().cpu().contiguous() for k, v in trainer.plain_model().state_dict().items()}
    facts = {"arch": spec.arch, "width": spec.width, "classes": len(data.classes), "channels": data.shape[0], "size": data.shape[1]}
    return save_safetensors(state, metadata={"architecture": json.dumps(facts)})


def preprocessor_config(data: Dataset) -> dict[str, Any]:
    """The preprocessing in the form of Hugging Face's image processors."""
    pre = data.preprocessing
    return {
        "do_resize": True,
        "size": {"height": pre.height, "width": pre.width},
        "do_rescale": True,
        "rescale_factor": pre.scale,
        "do_normalize": True,
        "image_mean": list(pre.mean),
        "image_std": list(pre.std),
    }


def pretty(document: Any) -> bytes:
    """JSON for people, one line a value."""
    return (json.dumps(document, indent=1, ensure_ascii=False, allow_nan=False) + "\n").encode()
