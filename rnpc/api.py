"""What `import rnpc` offers, and what `rnpc harden` runs: from a model and clean images to a hardened file, a document and a report."""

from __future__ import annotations

import copy
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from rnpc import files
from rnpc.data.images import ImageSet
from rnpc.data.infer import Flags
from rnpc.errors import Exit, InputRefused, UsageError
from rnpc.panel import Panel
from rnpc.pipeline import harden as pipeline
from rnpc.pipeline import inputs as pipeline_inputs
from rnpc.pipeline.document import document_of, panels_of
from rnpc.pipeline.inputs import Way
from rnpc.pipeline.optimise import Optimised
from rnpc.pipeline.settings import Settings
from rnpc.plan import Plan
from rnpc.program import Program
from rnpc.report import write as write_report
from rnpc.stage import Stage, Tell
from rnpc.study.surgery import Channel

__all__ = ["HardenedModule", "Result", "Settings", "Way", "harden", "harden_file", "harden_program"]


@dataclass(frozen=True)
class Result:
    """`document`: what `--format json` prints; `panels`: what the report shows; `plan`: None where nothing was cut; `tensors`: new values
    of the tensors that the plan replaces; `data`: the bytes of the output, None where none is to be written; `ranking`: all channels in
    the order in which they would fall; `optimised`: the second file for deployment, or why there is none (None where it was not asked for
    or there is no first one); `written`: the model files."""

    document: dict[str, Any]
    panels: tuple[Panel, ...]
    plan: Plan | None
    tensors: dict[str, np.ndarray]
    data: bytes | None
    program: Program
    ranking: tuple[Channel, ...]
    exit_code: Exit
    optimised: Optimised | InputRefused | None = None
    timings: dict[str, float] = field(default_factory=dict)
    written: tuple[Path, ...] = ()


@dataclass(frozen=True)
class HardenedModule:
    """What `rnpc.harden` returns: a hardened copy of the module (a plain copy where nothing was cut), its ONNX file, document and panels.

    `module` and `onnx` are None where the run wrote nothing (inconclusive, or no cut within the budget).
    """

    module: nn.Module | None
    onnx: bytes | None
    document: dict[str, Any]
    panels: tuple[Panel, ...]


def harden(
    module: nn.Module,
    images: np.ndarray | ImageSet | str | Path,
    labels: Sequence[int] | np.ndarray | None = None,
    *,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    settings: Settings | None = None,
) -> HardenedModule:
    """Harden a torch module before export.

    Args:
        module: a classifier of images [n, C, H, W]; it is not changed.
        images: clean images, uint8 [n, H, W, C], an `ImageSet`, or a folder.
        labels: output indices [n]; None lets the model label the images.
        mean, std: per channel, of pixels in [0, 1]; None probes the common conventions by accuracy.
        settings: see `Settings`.

    Raises the errors of `rnpc.errors`.
    """
    from rnpc.frontends import back, torch_module

    if settings is not None and settings.optimize is not None:
        raise UsageError("no file is written here", where="optimize", todo="use rnpc.api.harden_file")
    stays_in_shape(settings or Settings())
    given = as_images(images, labels)
    shape = (given.images.shape[3], given.images.shape[1], given.images.shape[2])
    program = torch_module.load(module, shape)
    if labels is not None:
        check_labels(np.asarray(labels), program.signature.classes)
    flags = Flags(mean=None if mean is None else tuple(mean), std=None if std is None else tuple(std))
    result = harden_program(program, given, settings or Settings(), flags=flags)
    if result.data is None:
        return HardenedModule(None, None, result.document, result.panels)
    hardened = copy.deepcopy(module) if result.plan is None else back.apply_to_module(module, program, result.plan, result.tensors)
    return HardenedModule(hardened, result.data, result.document, result.panels)


def stays_in_shape(settings: Settings) -> None:
    """Raises UsageError for a mode that a module or a weights file of a given architecture cannot hold."""
    if settings.mode != "zero":
        what = "channels cannot be removed from a torch module or weights of an architecture, whose shapes are given"
        raise UsageError(what, where="mode", todo="take mode zero, or harden the ONNX file")


def as_images(images: np.ndarray | ImageSet | str | Path, labels: Sequence[int] | np.ndarray | None) -> ImageSet:
    """An ImageSet of arrays; class names are the output indices."""
    if isinstance(images, ImageSet):
        return images
    if isinstance(images, str | Path):
        from rnpc.data.images import common_size, load

        size = common_size(images)
        if size is None:
            raise InputRefused("the images differ in size", where=str(images), todo="give an array, or images of one size")
        return load(images, size)
    if images.ndim != 4 or images.dtype != np.uint8:
        raise InputRefused(f"images of {images.dtype} {images.shape}", where="images", todo="give uint8 [n, H, W, C]")
    names = tuple(f"{i:06d}" for i in range(len(images)))
    if labels is None:
        return ImageSet(images, None, names, None)
    index = np.asarray(labels, dtype=np.int64)
    if index.shape != (len(images),):
        raise InputRefused(f"labels of shape {index.shape} for {len(images)} images", where="labels", todo="give one label an image")
    classes, place = np.unique(index, return_inverse=True)
    return ImageSet(images, place.astype(np.int64), names, tuple(str(c) for c in classes))


def check_labels(labels: np.ndarray, outputs: int) -> None:
    """Raises InputRefused unless all labels are output indices. Folder names may be read in other ways, numbers from Python may not."""
    wrong = labels[(labels < 0) | (labels >= outputs)]
    if len(wrong):
        what = f"label {wrong[0]} does not fit a model with {outputs} outputs"
        raise InputRefused(what, where="labels", todo=f"give output indices, 0 to {outputs - 1}")


def harden_file(
    model: str | Path,
    data: str | Path | ImageSet,
    out: str | Path | None = None,
    settings: Settings | None = None,
    *,
    flags: Flags | None = None,
    report: str | Path | None = None,
    way: Way | None = None,
    progress: Tell | None = None,
) -> Result:
    """Harden a model file; writes `out` (default: nothing), the optimised copy and the report folder. Raises the errors of `rnpc.errors`.

    Without `out` there is no optimised copy. One that is refused takes nothing from the rest: it is `optimised` of the result.
    """
    settings, way = settings or Settings(), way or Way()
    settings = settings if out is not None else replace(settings, optimize=None)
    if way.arch is not None:
        stays_in_shape(settings)
    places = [] if out is None else places_of(Path(out), way.arch)
    second = [] if settings.optimize is None else [settings.optimize]
    files.check_outputs([*places, *second], [*pipeline_inputs.files_of(model, flags), *([] if isinstance(data, ImageSet) else [data])])
    if report is not None:
        files.make_folder(report)
    start = time.perf_counter()
    program, folder = pipeline_inputs.load_program(model, way, None if flags is None else flags.size)
    loaded = time.perf_counter() - start
    name = places[0].name if places else None
    result = harden_program(program, data, settings, flags=flags, folder=folder, progress=progress, name=name)
    result.timings[Stage.LOAD_MODEL.value] = loaded
    if places and result.data is not None:
        outputs = outputs_of(Path(model), places, result)
        if settings.optimize is not None and isinstance(result.optimised, Optimised):
            outputs[settings.optimize] = result.optimised.data
        files.write_all(outputs, [model])
        result = replace(result, written=tuple(outputs))
    if report is not None:
        write_report(report, result.document, result.panels)
    return result


def places_of(out: Path, arch: str | None) -> list[Path]:
    """Where the ONNX file goes, and the safetensors beside it where the input is weights of an architecture; either names the pair."""
    if arch is None or not out.name:  # `.` and `/` have no name; they are refused as outputs
        return [out]
    return [out.with_suffix(".onnx") if out.suffix == ".safetensors" else out, out.with_suffix(".safetensors")]


def outputs_of(model: Path, places: Sequence[Path], result: Result) -> dict[Path, bytes]:
    """The ONNX file, and hardened safetensors in the second place where the input was weights."""
    assert result.data is not None
    outputs = {places[0]: result.data}
    if len(places) > 1 and result.plan is not None:
        from rnpc.frontends import weights

        outputs[places[1]] = weights.hardened(model, result.program, result.plan, result.tensors)
    return outputs


def harden_program(
    program: Program,
    data: str | Path | ImageSet,
    settings: Settings,
    *,
    flags: Flags | None = None,
    folder: Path | None = None,
    progress: Tell | None = None,
    name: str | None = None,
) -> Result:
    """Everything but the disk. `name`: the output's base name in the document."""
    run = pipeline.run(program, data, settings, flags=flags, folder=folder, progress=progress)
    return Result(
        document=document_of(run, name),
        panels=panels_of(run),
        plan=run.plan,
        tensors=run.tensors,
        data=run.data,
        program=program,
        ranking=run.decision.outcome.ranking,
        exit_code=run.exit_code,
        optimised=run.optimised,
        timings=run.timings,
    )
