"""`--method rnp`: the blind method, from a program and clean images to a decision.

1. Unlearn a copy and recover masks: what is left when clean images are forgotten, and for which label it votes (evidence, not verdict:
   an unlearned clean model votes for something too).
2. Propose labels by the smallest shift of the last features, invert triggers for them, and compare their costs (`verdict`).
3. Where a label stands out: rank channels by how much of the trigger's way runs through them against what clean images lose (`rank`), and
   cut until the label is as dear to reach as others, within the accuracy budget (`cut`).

Only clean defense images enter. The threshold is the score of the last channel that falls.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import count

import numpy as np
import torch

from rnpc.errors import InputRefused
from rnpc.method import cut, latent, rnp
from rnpc.method.decision import Decision, Evidence, Tell
from rnpc.method.head import find_head
from rnpc.method.rank import Channel, clean_means
from rnpc.method.subject import Subject, prepare, split
from rnpc.method.trigger import FORMS, Effort, Form, Inverted, invert, success
from rnpc.method.verdict import CANDIDATES, Accusation, accuse
from rnpc.passes.batchnorm import fold_bn
from rnpc.program import Finding, Masks, Preprocessing, Program
from rnpc.speed import side_by_side

EFFORT = Effort()


@dataclass(frozen=True)
class Request:
    """Defense images uint8 [n, H, W, C] with labels int64 [n], and the settings."""

    program: Program
    images: np.ndarray
    labels: np.ndarray
    pre: Preprocessing
    seed: int
    max_ca_drop: float
    device: str
    force: bool
    tell: Tell


def decide(request: Request) -> Decision:
    """Run the method. Raises Inconclusive with too few images, InputRefused where nothing can be pruned."""
    tell = request.tell
    tell("twin", None, None)
    subject = prepare(
        request.program, request.images, request.labels,
        seed=request.seed, max_ca_drop=request.max_ca_drop, device=request.device, pre=request.pre,
    )  # fmt: skip
    tell("labels", None, None)
    norms = shift_norms(request.program, subject)
    labels = [int(label) for label in np.argsort(norms, kind="stable")[: min(CANDIDATES, subject.classes)]]
    course, masks, triggers = study(request, subject, labels)
    accusation = accuse(labels, {(t.label, t.form): t.cost for t in triggers})
    found = None
    if accusation.verdict == "backdoored" or request.force:
        found = remove(request, subject, accusation, triggers)
    return conclude(request, subject, accusation, triggers, norms, course, masks, found)


def study(request: Request, subject: Subject, labels: list[int]) -> tuple[list[rnp.Point], Masks, list[Inverted]]:
    """Beside each other: the course and the masks of a short unlearning and recovery, and the triggers of each label in each form."""
    jobs = [(label, form) for label in labels for form in FORMS]
    course, masks, triggers, done = list[rnp.Point](), Masks(), dict[tuple[int, Form], Inverted](), count()

    def unlearn() -> None:
        found, recovered = reconstruct(request, subject)
        course.extend(found)
        masks.update(recovered)

    def trigger(label: int, form: Form) -> None:
        triggers[label, form] = invert(subject, label, form, seed=request.seed, effort=EFFORT)
        request.tell("unlearn and invert triggers", (next(done) + 1) / len(jobs), None)

    request.tell("unlearn and invert triggers", 0.0, None)
    work: list[Callable[[], None]] = [unlearn, *(partial(trigger, *job) for job in jobs)]
    side_by_side(work, subject.device.type)
    return course, masks, [triggers[job] for job in jobs]


def reconstruct(request: Request, subject: Subject) -> tuple[list[rnp.Point], Masks]:
    """A short unlearning and recovery on a copy with BatchNorm put back."""
    schedule = rnp.Schedule(unlearn_steps=24, recover_steps=16, batch=32, stop=1.5 / subject.classes, epoch=2)
    twin, sites = rnp.masked_twin(subject, fold_bn(request.program.model))
    course = rnp.unlearn(subject, twin, schedule, request.seed)
    return course, rnp.recover(subject, twin, sites, schedule, request.seed)


def shift_norms(program: Program, subject: Subject) -> np.ndarray:
    """Latent shift norms [K] from the learn images. Raises InputRefused without a linear last layer."""
    head = find_head(program.model)
    if head is None:
        todo = "the target label is found through a last Gemm or MatMul; other heads are not supported yet"
        raise InputRefused("no linear layer makes the class scores", where=program.name, todo=todo)
    with torch.no_grad():
        scores = torch.cat([subject.logits(part) for part in subject.learn.pixels.split(64)]).double().cpu().numpy()
    return latent.shift_norms(scores, head.weight)


def remove(request: Request, subject: Subject, accusation: Accusation, triggers: list[Inverted]) -> cut.Search:
    """Search for the cut that makes the accused label dear."""
    means = clean_means(subject, subject.learn)

    def told(what: str, accuracy: float | None) -> None:
        request.tell(what, None, accuracy)

    task = cut.Task(subject, means, accusation.label, accusation.reference, request.max_ca_drop, request.seed, EFFORT, told)
    return cut.search(task, [t for t in triggers if t.label == accusation.label])


def conclude(
    request: Request,
    subject: Subject,
    accusation: Accusation,
    triggers: list[Inverted],
    norms: np.ndarray,
    course: list[rnp.Point],
    masks: Masks,
    found: cut.Search | None,
) -> Decision:
    """Put everything into a decision."""
    chosen = None if found is None or found.chosen is None else found.cuts[found.chosen]
    channels: tuple[Channel, ...] = () if found is None or chosen is None else tuple(found.path[: chosen.channels])
    votes = course[-1].votes if course else np.zeros(subject.classes)
    verdict = None if request.force else accusation.verdict
    accused = ((accusation.label, float(votes[accusation.label])),) if verdict != "clean" else ()
    reasons = tuple(
        f"the cheapest {form} trigger for label {accusation.label} costs {value:.2f} of the cheapest one found for another label"
        for form, value in accusation.by_form.items()
    )
    numbers = {"ratio": accusation.ratio, **{f"ratio_{form}": value for form, value in accusation.by_form.items()}}
    if chosen is not None and chosen.ratio is not None:
        numbers["ratio_after"] = chosen.ratio
        reasons += (after_words(accusation.label, chosen.ratio),)
    evidence = Evidence(
        norms=norms,
        z=latent.robust_z(norms),
        votes=votes,
        course=tuple(course),
        masks=masks,
        triggers=tuple(triggers),
        held_out=tuple(success(subject, t, subject.judge) for t in triggers),
        scores=scores_of(subject, found),
        cuts=() if found is None else tuple(found.cuts),
        chosen=None if found is None else found.chosen,
        numbers=numbers,
    )
    judged = split(request.images, request.labels, request.seed, request.max_ca_drop)[1]
    ranking = () if found is None else whole(found)
    threshold = None if chosen is None else chosen.threshold
    return Decision(Finding(verdict, accused, None, reasons), channels, ranking, judged, evidence, threshold)


def after_words(label: int, ratio: float) -> str:
    """What the label costs after the cut, and a warning where it is still cheap."""
    said = f"after the cut, fresh triggers for label {label} cost {ratio:.2f} of it (both forms together)"
    if ratio > cut.LEAST:
        return said
    return f"{said}: the backdoor is weakened and may not be gone; give more images or a larger --max-ca-drop, and measure"


def scores_of(subject: Subject, found: cut.Search | None) -> Masks:
    """Site -> suspicion score of each channel, for the report."""
    if found is None:
        return {}
    scores = {site.value: np.zeros(site.channels, dtype=np.float32) for site in subject.sites}
    for channel in reversed(whole(found)):
        scores[channel.site][channel.index] = max(channel.score, 0.0)
    return scores


def whole(found: cut.Search) -> tuple[Channel, ...]:
    """The path, then all other channels by the first ranking."""
    gone = {(channel.site, channel.index) for channel in found.path}
    return (*found.path, *(c for c in found.ranked if (c.site, c.index) not in gone))
