"""From what a user gives (a model, a folder, flags) to what every command works on: the program, aligned images, preprocessing, logits.

`resolve` is the one way in. It loads the model, collects what is stated about its preprocessing, loads the images at the model's size,
probes what nothing states, puts labels into the order of the outputs, and checks all of it by the accuracy of the model's own bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from rnpc import files
from rnpc.data import classes, config, images, infer, outputs, probe
from rnpc.data.images import ImageSet
from rnpc.data.infer import Flags
from rnpc.errors import InputRefused
from rnpc.program import Preprocessing, Program
from rnpc.runtime import THREADS, Device, Session, predict
from rnpc.stats import Rate

Progress = Callable[[int, int], None]
BESIDE = ("preprocessor_config.json", "config.json", "labels.json", "labels.txt")
"""Files that are read where they lie beside a model."""


@dataclass(frozen=True)
class Way:
    """How a model file that is no ONNX file is read: `arch` of a weights file, `trust` for archives that hold pickled objects; `output`:
    the graph output that carries the scores, where there are several."""

    arch: str | None = None
    trust: bool = False
    output: str | None = None


@dataclass(frozen=True)
class Fact:
    """An inferred value and its source, as `rnpc inspect` prints them."""

    name: str
    value: str
    source: str


@dataclass(frozen=True)
class Inputs:
    """What a command works on. `images.labels` are output indices and `images.classes` one name an output; both None without labels.

    `logits` are those of the model on all `images`, `accuracy` their agreement with the labels, both measured by `session`. `order` says
    how class names became output indices; `names` are the model's own labels, where it has any. `alike`: other preprocessing under which
    the model classifies the images as well, where `pre` was found by accuracy; it may be used under any of them.
    """

    program: Program
    images: ImageSet
    pre: Preprocessing
    session: Session
    logits: np.ndarray
    order: classes.Order | None
    accuracy: Rate | None
    names: tuple[str, ...] | None
    facts: tuple[Fact, ...]
    notes: tuple[str, ...]
    alike: tuple[Preprocessing, ...] = ()

    @property
    def labels(self) -> np.ndarray:
        """Output indices int64 [n]: as given, or else the model's own answers."""
        given = self.images.labels
        return self.logits.argmax(1).astype(np.int64) if given is None else given

    @property
    def provider(self) -> str:
        """The provider that measured."""
        return self.session.provider


def resolve(
    model: str | Path | Program,
    data: str | Path | ImageSet,
    flags: Flags | None = None,
    device: Device = "auto",
    *,
    threads: int = THREADS,
    way: Way | None = None,
    progress: Progress | None = None,
) -> Inputs:
    """Load and settle everything. `progress(done, total)` follows the loading of images.

    Raises InputRefused (model, data, labels or preprocessing), SurroundingsError (the device), UsageError (flags).
    """
    flags = flags or Flags()
    program, folder = load_program(model, way, flags.size)
    return settle(program, folder, data, flags, device, threads=threads, progress=progress)


def settle(
    program: Program,
    folder: Path | None,
    data: str | Path | ImageSet,
    flags: Flags,
    device: Device = "auto",
    *,
    threads: int = THREADS,
    progress: Progress | None = None,
) -> Inputs:
    """`resolve` for a loaded program; `folder` is where files beside it are looked for."""
    sources = infer.stated(flags, folder, metadata(program), program.preprocessing)
    pre, found = load_images(program, data, sources, progress)
    session = Session.of(program, device=device, threads=threads)
    named = outputs.find(folder, program.labels, program.signature.classes)
    names = named[0] if named else None
    where = data_name(data)
    orders = [] if found.classes is None else classes.candidates(found.classes, program.signature.classes, names, where)
    settled, alike = infer.pixels(pre, program.signature, sources, program.name), tuple[Preprocessing, ...]()
    if settled is None:
        told = probed(program, found, pre, orders, session, where)
        settled, alike = told.chosen, told.alike
    logits = finite(predict(session, found, settled), program.name)
    if not orders:
        facts = gather(program, settled, named, None)
        return Inputs(program, found, settled, session, logits, None, None, names, facts, notes(program, found))
    order = classes.choose(logits, found, orders)
    aligned = classes.align(found, order, program.signature.classes, names)
    assert aligned.labels is not None
    tried = f"classes by {' or '.join(o.rule for o in orders)} and mean and std by {dict(settled.sources).get('mean', 'default')}"
    measured = classes.check(logits, aligned.labels, tried, where)
    facts = gather(program, settled, named, order)
    return Inputs(program, aligned, settled, session, logits, order, measured, names, facts, notes(program, aligned), alike)


def files_of(model: str | Path, flags: Flags | None = None) -> list[Path]:
    """Every file that a run reads for a model: itself, its external data, its preprocessing and labels. No output may be one of them.

    Raises InputRefused where the model cannot be read.
    """
    from rnpc.frontends import onnx_file
    from rnpc.passes.wire import external

    path = Path(model)
    found = external.sources(onnx_file.read(path), path.parent)
    found += [flags.preprocess] if flags is not None and flags.preprocess is not None else []
    return [path, *found, *(place for name in BESIDE if files.kind(place := path.parent / name) == "file")]


def load_program(model: str | Path | Program, way: Way | None = None, size: tuple[int, int] | None = None) -> tuple[Program, Path | None]:
    """The program and the folder in which files beside it are looked for (None for one that is no file).

    `size` (height, width) is for weights of an architecture, which carry no input shape.
    """
    if isinstance(model, Program):
        return model, None
    from rnpc.frontends import load

    way = way or Way()
    shape = (3, *size) if way.arch is not None and size is not None else None
    return load(Path(model), arch=way.arch, trust=way.trust, shape=shape, output=way.output), Path(model).parent


def known(program: Program, folder: Path | None, flags: Flags) -> tuple[Fact, ...]:
    """What can be said without images. Raises InputRefused where sources contradict the model."""
    sources = infer.stated(flags, folder, metadata(program), program.preprocessing)
    named = outputs.find(folder, program.labels, program.signature.classes)
    open_ = Fact("mean, std", "not stated", "found by accuracy from labelled images, or give --mean and --std")
    signature = program.signature
    if (signature.height is None or signature.width is None) and all(said.height is None for _, said in sources):
        size = Fact("size", "open", "taken from the images, or give --size")
        return (*model_facts(program), size, open_, *label_facts(program, named, None))
    pre = infer.geometry(signature, sources, None, program.name)
    full = infer.pixels(pre, signature, sources, program.name)
    return (*model_facts(program), *preprocessing_facts(full or pre), *([] if full else [open_]), *label_facts(program, named, None))


def metadata(program: Program) -> dict[str, str]:
    """The model's metadata_props."""
    return {entry.key: entry.value for entry in program.model.metadata_props}


def load_images(
    program: Program, data: str | Path | ImageSet, sources: Sequence[tuple[str, config.Stated]], progress: Progress | None
) -> tuple[Preprocessing, ImageSet]:
    """Geometry and the images at that size."""
    signature = program.signature
    if isinstance(data, ImageSet):
        pre = infer.geometry(signature, sources, (data.images.shape[1], data.images.shape[2]), program.name)
        if data.images.shape[1:] != (pre.height, pre.width, signature.channels):
            wanted = f"{pre.height}x{pre.width}x{signature.channels}"
            raise InputRefused(f"images of shape {data.images.shape[1:]}, the model reads {wanted}", where="images", todo="resize them")
        return pre, data
    is_open = signature.height is None or signature.width is None
    pre = infer.geometry(signature, sources, images.common_size(data) if is_open else None, program.name)
    return pre, images.load(data, pre, signature.channels, progress=progress)


def probed(
    program: Program, found: ImageSet, pre: Preprocessing, orders: Sequence[classes.Order], session: Session, where: str
) -> probe.Probed:
    """Pixel values by accuracy. Raises InputRefused without labels: nothing blind tells conventions apart."""
    if not orders:
        todo = "give --preprocess FILE or --mean and --std, or images in class folders"
        raise InputRefused(
            "nothing states the preprocessing, and without labels it cannot be found by accuracy", where=program.name, todo=todo
        )
    return probe.probe_all(found, pre, program.signature.channels, orders, lambda x, p: predict(session, x, p), where)


def finite(logits: np.ndarray, where: str) -> np.ndarray:
    """The scores. Raises InputRefused unless all are finite: the largest of others means nothing."""
    if not np.isfinite(logits).all():
        raise InputRefused("the model's scores are not finite on the given images", where=where, todo="check the preprocessing")
    return logits


def data_name(data: str | Path | ImageSet) -> str:
    """What an error calls the data."""
    return "images" if isinstance(data, ImageSet) else str(data)


def gather(
    program: Program, pre: Preprocessing, named: tuple[tuple[str, ...], str] | None, order: classes.Order | None
) -> tuple[Fact, ...]:
    """Every inferred value with its source."""
    return (*model_facts(program), *preprocessing_facts(pre), *label_facts(program, named, order))


def model_facts(program: Program) -> tuple[Fact, ...]:
    """What the graph says."""
    s = program.signature
    size = "x".join("?" if side is None else str(side) for side in (s.height, s.width))
    return (
        Fact("input", f"{s.input}: {s.dtype} {s.layout}, {s.channels} channels, {size}, batch {s.batch or 'any'}", "graph"),
        Fact("output", f"{s.output}: {s.classes} classes", "graph"),
    )


def preprocessing_facts(pre: Preprocessing) -> tuple[Fact, ...]:
    """Fields of the preprocessing that have a source."""
    values: dict[str, Any] = {**vars(pre), "size": f"{pre.height}x{pre.width}"}
    return tuple(Fact(name, shown(values[name]), source) for name, source in pre.sources)


def shown(value: Any) -> str:
    """A value for people: tuples without brackets, floats short."""
    if isinstance(value, tuple):
        return ", ".join(shown(v) for v in value)
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def label_facts(program: Program, named: tuple[tuple[str, ...], str] | None, order: classes.Order | None) -> tuple[Fact, ...]:
    """Names of the outputs and the order of the classes."""
    names = (Fact("labels", classes.sample(named[0]), named[1]),) if named else (Fact("labels", "not named", "none found"),)
    return (
        names if order is None else (*names, Fact("class order", f"{len(order.index)} of {program.signature.classes} classes", order.rule))
    )


def notes(program: Program, found: ImageSet) -> tuple[str, ...]:
    """What a report should say about the inputs beside their values."""
    said = list(program.notes)
    if found.unreadable:
        said.append(f"{len(found.unreadable)} unreadable images were left out: {classes.sample(found.unreadable)}")
    if found.labels is not None:
        missing = program.signature.classes - len(np.unique(found.labels))
        said += [f"{missing} of {program.signature.classes} classes have no image"] if missing else []
    return tuple(said)
