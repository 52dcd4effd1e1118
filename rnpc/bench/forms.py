"""A victim's file in the form that a cell asks for, made from the victim where its training did not write it.

A form lies in a folder of its own below the victim's, with what belongs beside a model, and a note of what it was made of: the folded file,
and the code that makes forms. Where either is another, or a file is not what the note says, the form is made again.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from rnpc import files
from rnpc.bench import source, store
from rnpc.data import contents
from rnpc.data.preprocess import to_input

if TYPE_CHECKING:
    from rnpc.data.datasets import Dataset
    from rnpc.program import Preprocessing
    from rnpc.victims.forms import Form
    from rnpc.victims.spec import VictimSpec

OWN = ("folded", "batchnorm")
"""What every training writes."""
NOTE, MODEL = "form.json", "model.onnx"
CALIBRATION = 128
"""Training images that forms of eight bits are calibrated on."""


@cache
def names() -> tuple[str, ...]:
    """The forms that can be measured in onnxruntime."""
    from rnpc.victims.forms import FORMS

    return tuple(form.name for form in FORMS.values() if form.runs)


def model(spec: VictimSpec, folder: Path, form: str, data: Dataset) -> Path:
    """The model's file of the finished victim in `folder`. Raises InputRefused where the network cannot be written so."""
    if form in OWN:
        return folder / f"{form}.onnx"
    place = folder / "forms" / form
    if not fresh(place, folder):
        made = write(spec, folder, form, data)
        note: dict[str, Any] = {"folded": contents.of_file(folder / "folded.onnx"), "code": code()}
        note["files"] = {name: hashlib.sha256(content).hexdigest() for name, content in made.items()}
        files.make_folder(place)
        files.write_all({place / name: content for name, content in made.items()})
        store.write(place / NOTE, note)
    return place / MODEL


def fresh(place: Path, folder: Path) -> bool:
    """Whether the form that lies there is whole, and made of this victim by this code."""
    note = store.read(place / NOTE)
    if note is None or note.get("code") != code():
        return False
    try:
        known = all(contents.of_file(place / name) == digest for name, digest in note["files"].items())
        return known and bool(note["folded"] == contents.of_file(folder / "folded.onnx"))
    except (OSError, KeyError, AttributeError):
        return False


@cache
def code() -> str:
    """Digest of the code that makes forms."""
    return source.digest({name: source.file_of(name) for name in source.closure(["rnpc.victims.forms"], ())})


def write(spec: VictimSpec, folder: Path, form: str, data: Dataset) -> dict[str, bytes]:
    """The form's files, by name."""
    from rnpc.victims import forms, lineage
    from rnpc.victims.forms import Given

    kind, pre = forms.find(form), data.preprocessing
    rows = np.unique(np.linspace(0, len(data.train_labels) - 1, CALIBRATION).round().astype(np.int64))
    given = Given(to_input(data.train_images[rows], pre), pre.mean, pre.std, pre.scale)
    if kind.rewrite is None:
        made = forms.write(lineage.read(folder, spec, data), data.shape, form, given, MODEL)
    else:
        made = forms.files((folder / "folded.onnx").read_bytes(), form, given, MODEL)
    stated: dict[str, Any] = json.loads((folder / "preprocessor_config.json").read_text())
    config = (json.dumps(kind.config(stated), indent=1) + "\n").encode()
    return {**made, "preprocessor_config.json": config, "labels.json": (folder / "labels.json").read_bytes()}


def preprocessing(data: Dataset, form: str) -> Preprocessing:
    """How a victim's file in this form reads images."""
    pre = data.preprocessing
    if form in OWN:
        return pre
    from rnpc.victims.forms import find

    kind: Form = find(form)
    if kind.dtype == "uint8":  # the graph holds the rest
        pre = replace(pre, mean=(0.0,) * len(pre.mean), std=(1.0,) * len(pre.std), scale=1.0)
    return replace(pre, layout=kind.layout)


def digest(model: Path) -> str:
    """sha256 over a model's file, and over its second file where it has one."""
    second = model.with_name(f"{model.name}.data")
    own = contents.of_file(model)
    return own if not second.is_file() else hashlib.sha256(f"{own} {contents.of_file(second)}".encode()).hexdigest()
