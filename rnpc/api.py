"""What `import rnpc` offers, and what `rnpc harden` runs: from a model and clean images to a hardened file, a document and evidence.

The order is the house's: inputs are settled and the twin is proved before the method starts; the method decides; the plan is written into
the user's own bytes; onnxruntime measures the written file; only then does anything reach the disk.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from torch import nn

from rnpc import __version__, api_inputs, files, speed
from rnpc.api_document import document_of, report_evidence
from rnpc.api_inputs import Inputs
from rnpc.data.images import ImageSet
from rnpc.data.infer import Flags
from rnpc.data.preprocess import to_input
from rnpc.errors import Exit, Inconclusive, InputRefused, UnsupportedOperator, UsageError
from rnpc.method import blind, paper
from rnpc.method.decision import Decision, Tell
from rnpc.passes import provenance
from rnpc.passes.zero import zero
from rnpc.program import SEEDS, FilterSite, Plan, Program, SitePlan
from rnpc.report import write as write_report
from rnpc.report.evidence import Evidence
from rnpc.runtime import THREADS, Device, Session, predict
from rnpc.twin import Twin, build
from rnpc.twin.parity import prove

if TYPE_CHECKING:
    from collections.abc import Callable

PROOF_IMAGES = 8
METHODS: dict[str, Callable[[blind.Request], Decision]] = {"rnp": blind.decide, "rnp-paper": paper.decide}


@dataclass(frozen=True)
class Settings:
    """How to harden. `max_ca_drop`: largest accuracy drop, as a share; `force`: prune whatever the verdict, which is then null."""

    method: str = "rnp"
    max_ca_drop: float = 0.02
    seed: int = 0
    device: Device = "auto"
    threads: int = THREADS
    force: bool = False

    def __post_init__(self) -> None:
        if self.method not in METHODS:
            raise UsageError("no such method", where=self.method, todo=f"choose one of {', '.join(METHODS)}")
        if not 0 < self.max_ca_drop < 1:
            raise UsageError(f"{self.max_ca_drop} is no share", where="--max-ca-drop", todo="choose a number between 0 and 1")
        if self.seed not in SEEDS:
            raise UsageError(f"{self.seed} is no seed", where="--seed", todo=f"choose 0 to {SEEDS[-1]}")


@dataclass(frozen=True)
class Result:
    """`data`: the bytes of the output, None where none is to be written. `plan`: None where nothing was cut. `written`: the model files."""

    document: dict[str, Any]
    evidence: Evidence
    decision: Decision
    plan: Plan | None
    data: bytes | None
    program: Program
    timings: dict[str, float] = field(default_factory=dict)
    written: tuple[Path, ...] = ()

    @property
    def exit_code(self) -> Exit:
        """Exit code of the run, before `--fail-on-finding`."""
        if self.document["verdict"] == "inconclusive":
            return Exit.INCONCLUSIVE
        return Exit.FINDING if self.data is None else Exit.OK


@dataclass(frozen=True)
class HardenedModule:
    """What `rnpc.harden` returns: a hardened copy of the module (a plain copy where nothing was cut), its ONNX file, document and evidence.

    `module` and `onnx` are None where the run wrote nothing (inconclusive, or no cut within the budget).
    """

    module: nn.Module | None
    onnx: bytes | None
    document: dict[str, Any]
    evidence: Evidence


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

    found = as_images(images, labels)
    shape = (found.images.shape[3], found.images.shape[1], found.images.shape[2])
    program = torch_module.load(module, shape)
    if labels is not None:
        check_labels(np.asarray(labels), program.signature.classes)
    flags = Flags(mean=None if mean is None else tuple(mean), std=None if std is None else tuple(std))
    result = harden_program(program, found, settings or Settings(), flags=flags)
    if result.data is None:
        return HardenedModule(None, None, result.document, result.evidence)
    import copy

    hardened = copy.deepcopy(module) if result.plan is None else back.apply_to_module(module, program, result.plan)
    return HardenedModule(hardened, result.data, result.document, result.evidence)


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
    arch: str | None = None,
    trust: bool = False,
    progress: Tell | None = None,
) -> Result:
    """Harden a model file; writes `out` (default: nothing) and the report folder. Raises the errors of `rnpc.errors`."""
    settings = settings or Settings()
    places = [] if out is None else places_of(Path(out), arch)
    files.check_outputs(places, [*api_inputs.files_of(model, flags), *([] if isinstance(data, ImageSet) else [data])])
    if report is not None:
        files.make_folder(report)
    start = time.perf_counter()
    program, folder = api_inputs.load_program(model, arch, trust, None if flags is None else flags.size)
    loaded = time.perf_counter() - start
    name = places[0].name if places else None
    result = harden_program(program, data, settings, flags=flags, folder=folder, progress=progress, name=name)
    result.timings["load model"] = loaded
    if places and result.data is not None:
        outputs = outputs_of(Path(model), places, result)
        files.write_all(outputs, [model])
        result = replace(result, written=tuple(outputs))
    if report is not None:
        write_report(report, result.document, result.evidence)
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

        outputs[places[1]] = weights.hardened(model, result.program, result.plan)
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
    """Everything but the disk: settle, prove, decide, rewrite, measure. `name`: the output's base name in the document."""
    clock = Clock(progress)
    with threads(settings.threads):
        clock("load images", None, None)
        twin = twin_of(program)
        inputs = api_inputs.settle(program, folder, data, flags or Flags(), settings.device, threads=settings.threads)
        provenance_free(program)
        clock("prove the twin", None, None)
        difference = prove_twin(twin, inputs, settings)
        del twin  # the method makes its own
        labels = inputs.images.labels if inputs.images.labels is not None else inputs.logits.argmax(1).astype(np.int64)
        device = torch_device(settings.device)
        request = blind.Request(
            program, inputs.images.images, labels, inputs.pre, settings.seed, settings.max_ca_drop, device, settings.force, clock
        )
        decision = decide(request, settings.method, data)
        clock("write and measure", None, None)
        plan = plan_of(program, decision, settings, inputs.images.digest)
        edited, edits = rewrite(program, plan)
        output = output_of(program, decision, edited)
        measured = measure(inputs, labels, decision.judged, output, settings)
        document = document_of(inputs, settings, decision, plan, edits, output, measured, difference, name)
        evidence = report_evidence(inputs, decision)
    return Result(document, evidence, decision, plan, output, program, clock.finish())


def provenance_free(program: Program) -> None:
    """Raises InputRefused for a file that rnpc hardened before."""
    if provenance.read(program.model):
        raise InputRefused("the model was already hardened by rnpc", where=program.name, todo="harden the original instead")


def twin_of(program: Program) -> Twin:
    """The twin. It is made first of all, so that unsupported operators are listed before onnxruntime stumbles over one of them."""
    try:
        return build(program.model)
    except UnsupportedOperator as error:
        raise UnsupportedOperator(error.nodes, where=program.name) from error


def decide(request: blind.Request, method: str, data: str | Path | ImageSet) -> Decision:
    """The method's decision. Raises Inconclusive, which names the data as the user did."""
    try:
        return METHODS[method](request)
    except Inconclusive as error:
        if isinstance(data, ImageSet) or error.where != "defense data":
            raise
        raise Inconclusive(error.what, where=str(data), todo=error.todo) from error


def prove_twin(twin: Twin, inputs: Inputs, settings: Settings) -> float:
    """The twin's largest difference from onnxruntime on a few defense images."""
    images = to_input(inputs.images.images[:PROOF_IMAGES], inputs.pre)
    return prove(twin, inputs.program.model, images, where=inputs.program.name, threads=settings.threads)


def plan_of(program: Program, decision: Decision, settings: Settings, digest: str) -> Plan | None:
    """The decision as a plan for the user's graph; None where nothing is cut."""
    if not decision.cut:
        return None
    sites: dict[str, FilterSite] = {site.value: site for site in program.sites}
    chosen: dict[str, dict[int, float]] = {}
    for channel in decision.cut:
        chosen.setdefault(channel.site, {})[channel.index] = channel.value
    entries = tuple(SitePlan.of(site, chosen[site.value]) for site in sites.values() if site.value in chosen)
    threshold = None if decision.threshold is None else round(decision.threshold, 6)
    return Plan(entries, settings.method, settings.seed, program.sha256, digest, threshold)


def rewrite(program: Program, plan: Plan | None) -> tuple[bytes | None, list[dict[str, Any]]]:
    """The edited file with its provenance, and the declared edits."""
    if plan is None:
        return None, []
    result = zero(program.source, program.model, program.sites, plan)
    return provenance.append(result.data, provenance.entries(plan, __version__)), result.edits


def output_of(program: Program, decision: Decision, edited: bytes | None) -> bytes | None:
    """The input's bytes for a clean model, the edited ones for a cut, None otherwise."""
    verdict: Literal["backdoored", "clean", "inconclusive"] | None = decision.finding.verdict
    if verdict == "clean":
        return program.source
    if verdict is None and edited is None:
        return program.source
    return None if verdict == "inconclusive" else edited


def measure(inputs: Inputs, labels: np.ndarray, rows: np.ndarray, output: bytes | None, settings: Settings) -> dict[str, Any]:
    """Outcomes 0/1 on the judged images in onnxruntime: of the original file, and of the written one."""
    before = inputs.logits[rows].argmax(1) == labels[rows]
    if output is None or hashlib.sha256(output).hexdigest() == inputs.program.sha256:
        return {"before": before, "after": before if output is not None else None, "provider": inputs.session.provider}
    session = Session(output, device=settings.device, threads=settings.threads, where="output")
    after = predict(session, inputs.images.images[rows], inputs.pre).argmax(1) == labels[rows]
    return {"before": before, "after": after, "provider": session.provider}


def torch_device(device: Device) -> str:
    """The torch device of a setting; `auto` takes CUDA where torch finds one."""
    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    return device


@contextmanager
def threads(count: int) -> Iterator[None]:
    """Fix torch's thread count, on which results depend, and give the caller's back."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    speed.keep_memory()
    try:
        yield
    finally:
        torch.set_num_threads(before)


class Clock:
    """Passes progress on and sums up seconds by stage."""

    def __init__(self, tell: Tell | None) -> None:
        self.tell, self.stage, self.since, self.seconds = tell, "", time.perf_counter(), dict[str, float]()

    def __call__(self, stage: str, share: float | None, accuracy: float | None) -> None:
        self.mark(stage.partition(":")[0])
        if self.tell is not None:
            self.tell(stage, share, accuracy)

    def mark(self, stage: str) -> None:
        """Close the stage before."""
        now = time.perf_counter()
        if self.stage:
            self.seconds[self.stage] = self.seconds.get(self.stage, 0.0) + now - self.since
        self.stage, self.since = stage, now

    def finish(self) -> dict[str, float]:
        """Seconds by stage."""
        self.mark("")
        return self.seconds
