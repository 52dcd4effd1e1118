"""The way of the data, stage by stage: inputs are settled, the studied twin is proved, the detector accuses, the defense decides, the plan
is written into the user's own bytes, and onnxruntime measures the written file. Nothing here touches the disk.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from rnpc.data.images import ImageSet
from rnpc.data.infer import Flags
from rnpc.data.preprocess import to_input
from rnpc.defenses.base import Defense, Nothing, Outcome, Silence, Weights
from rnpc.detectors.base import Detection, Detector
from rnpc.errors import Exit, Inconclusive, InputRefused, UnsupportedOperator
from rnpc.passes.facts.intake import check_original
from rnpc.passes.rewrite.apply import apply
from rnpc.passes.rewrite.kept import Kept
from rnpc.pipeline.clock import Clock
from rnpc.pipeline.estimate import expected_seconds
from rnpc.pipeline.finding import conclude, unfit
from rnpc.pipeline.inputs import Inputs, settle
from rnpc.pipeline.measure import Measured, measure
from rnpc.pipeline.optimise import IMAGES, Optimised, optimise
from rnpc.pipeline.plans import plan_of
from rnpc.pipeline.relapse import relapse
from rnpc.pipeline.settings import Settings
from rnpc.plan import Plan
from rnpc.program import Finding, Preprocessing, Program
from rnpc.runtime import exact, resolve
from rnpc.stage import Stage, Tell
from rnpc.study.case import Case, draw
from rnpc.study.subject import Subject, prepare
from rnpc.twin.parity import prove

PROOF_IMAGES = 8


@dataclass(frozen=True)
class Decision:
    """What was found and what is to be done: the finding, the detection (None without a detector), the outcome."""

    finding: Finding
    detection: Detection | None
    outcome: Outcome
    judged: np.ndarray

    @property
    def cut(self) -> bool:
        """Whether the file is to be changed."""
        return isinstance(self.outcome, Silence)


@dataclass(frozen=True)
class Hardened:
    """`data`: the bytes of the output, None where none is to be written. `plan`: None where nothing was cut; `tensors`: what travels beside
    a plan that replaces weights. `kept`: channels that were to be removed and stay, zeroed. `optimised`: the second file, or why there is
    none; None where it was not asked for or there is no first one."""

    inputs: Inputs
    settings: Settings
    decision: Decision
    plan: Plan | None
    edits: list[dict[str, Any]]
    data: bytes | None
    measured: Measured
    difference: float
    tensors: dict[str, np.ndarray] = field(default_factory=dict)
    kept: list[Kept] = field(default_factory=list)
    optimised: Optimised | InputRefused | None = None
    timings: dict[str, float] = field(default_factory=dict)

    @property
    def exit_code(self) -> Exit:
        """Exit code of the run, before `--fail-on-finding`."""
        if self.decision.finding.verdict == "inconclusive":
            return Exit.INCONCLUSIVE
        return Exit.FINDING if self.data is None else Exit.OK


def run(
    program: Program,
    data: str | Path | ImageSet,
    settings: Settings,
    *,
    flags: Flags | None = None,
    folder: Path | None = None,
    progress: Tell | None = None,
) -> Hardened:
    """Everything but the disk. Raises the errors of `rnpc.errors`."""
    clock, defense, detector = Clock(progress), settings.defense(), settings.witness()
    check_original(program.model, program.name)
    with threads(settings.threads), exact(resolve(settings.device)):
        clock(Stage.LOAD_IMAGES, None, None)
        subject = studied(program, settings)
        inputs = settle(program, folder, data, flags or Flags(), settings.device, threads=settings.threads)
        subject = replace(subject, pre=inputs.pre)
        clock(Stage.PROVE, None, None)
        difference = proved(subject, inputs, settings)
        clock.expect(lambda: expected_seconds(inputs, settings))
        case = replace(case_of(subject, inputs, defense, settings, data), tell=clock)
        decision = decide(case, defense, detector, settings.force)
        clock(Stage.WRITE, None, None)
        plan = plan_of(program, decision.outcome, settings, inputs.images.digest)
        tensors = dict(decision.outcome.tensors) if isinstance(decision.outcome, Weights) else {}
        applied = None if plan is None else apply(program.source, plan, tensors)
        output = output_of(program, decision, None if applied is None else applied.data)
        clock(Stage.MEASURE, None, None)
        measured = measure(inputs, decision.judged, output, settings)
        decision = tried_again(decision, program, output, case)
        second = None if output is None or settings.optimize is None else optimised(output, inputs, decision.judged, settings)
    edits, kept = ([], []) if applied is None else (applied.edits, applied.kept)
    return Hardened(inputs, settings, decision, plan, edits, output, measured, difference, tensors, kept, second, clock.finish())


def studied(program: Program, settings: Settings) -> Subject:
    """The canonical twin, the one that is proved and studied. It is made first of all, so that unsupported operators are listed before
    onnxruntime stumbles over one of them. Raises UnsupportedOperator with the model's name."""
    try:
        return prepare(program, Preprocessing(1, 1), resolve(settings.device))
    except UnsupportedOperator as error:
        raise UnsupportedOperator(error.nodes, where=program.name) from error


def proved(subject: Subject, inputs: Inputs, settings: Settings) -> float:
    """The studied twin's largest difference from onnxruntime on a few defense images, where it is studied. Raises InputRefused where it is
    too large."""
    images = to_input(inputs.images.images[:PROOF_IMAGES], inputs.pre)
    program = inputs.program
    return prove(
        subject.twin,
        program.model,
        images,
        where=program.name,
        device=subject.device,
        threads=settings.threads,
        output=program.signature.output,
    )


def case_of(subject: Subject, inputs: Inputs, defense: Defense, settings: Settings, data: str | Path | ImageSet) -> Case:
    """The case. Raises Inconclusive, which names the data as the user did."""
    try:
        case = draw(subject, inputs.images.images, inputs.labels, defense.shares, settings.seed, settings.max_drop)
    except Inconclusive as error:
        if isinstance(data, ImageSet):
            raise
        raise Inconclusive(error.what, where=str(data), todo=error.todo) from error
    return replace(case, names=inputs.names or inputs.images.classes, strict=settings.strict)


def decide(case: Case, defense: Defense, detector: Detector | None, force: bool) -> Decision:
    """Accuse, then defend where that is called for, then conclude."""
    detection = None if detector is None or force else unfit(case)
    if detector is not None and detection is None:
        detection = detector.detect(case)
    if force or detection is None or detection.verdict == "backdoored" or detection.doubt:
        outcome = defense.defend(case, detection)
    else:
        outcome = Nothing(why="no label is accused")
    if detector is not None and detection is not None and detection.doubt:
        detection = detector.reconsider(case, detection, bool(outcome.confirmed))
    finding, outcome = conclude(detection, outcome, force)
    return Decision(finding, detection, outcome, case.rows[2])


def output_of(program: Program, decision: Decision, edited: bytes | None) -> bytes | None:
    """The input's bytes for a clean model and for one that is to stay, the edited ones for a cut, None otherwise."""
    verdict = decision.finding.verdict
    if verdict == "clean" or (verdict is None and edited is None):
        return program.source
    return None if verdict == "inconclusive" else edited


def tried_again(decision: Decision, program: Program, output: bytes | None, case: Case) -> Decision:
    """With how easily the backdoor comes back in the written file, where there is one and a trigger was found."""
    outcome = decision.outcome
    if output is None or outcome.label is None or not outcome.triggers or decision.finding.verdict != "backdoored":
        return decision
    found = relapse(program, output, case, outcome.label, outcome.triggers)
    return replace(decision, outcome=replace(outcome, left=replace(outcome.left, relapse=found)))


def optimised(output: bytes, inputs: Inputs, rows: np.ndarray, settings: Settings) -> Optimised | InputRefused:
    """The second file, or why there is none: that loses nobody the first."""
    images = to_input(inputs.images.images[rows[:IMAGES]], inputs.pre)
    try:
        return optimise(output, images, where=str(settings.optimize), threads=settings.threads)
    except InputRefused as error:
        return error


@contextmanager
def threads(count: int) -> Iterator[None]:
    """Fix torch's thread count, on which results depend, and give the caller's back."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
