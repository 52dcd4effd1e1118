"""`--method rnp`: the blind method, from a program and clean images to a decision.

1. Unlearn a copy and recover masks: what is left when clean images are forgotten, and for which label it votes (evidence, not verdict:
   an unlearned clean model votes for something too).
2. Propose labels by the smallest shift of the last features and by a first look at triggers, invert triggers for them and for the label
   after an image's own, and compare their costs (`verdict`); where these are close, invert once more.
3. Where a label stands out: rank channels by how much of the trigger's way runs through them against what clean images lose (`rank`), and
   cut until the strongest trigger is no stronger than another label's, within the accuracy budget (`cut`). Where the costs leave a doubt,
   what the cut takes away decides.

Only clean defense images enter. The threshold is the score of the last channel that falls.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from itertools import count

import numpy as np
import torch

from rnpc.errors import InputRefused
from rnpc.method import cut, latent, rnp
from rnpc.method.decision import Decision, Evidence, Tell
from rnpc.method.forms import PIXELS, Form
from rnpc.method.head import find_head
from rnpc.method.rank import Channel, clean_moments
from rnpc.method.subject import Subject, prepare, split
from rnpc.method.trigger import NEXT, Effort, Inverted, distance, invert, missed_next, strongest, success
from rnpc.method.verdict import AGAIN, CANDIDATES, DOUBT, LIMITS, LOOKED, WARPED, Accusation, Verdict, accuse, close, reference
from rnpc.passes.batchnorm import fold_bn
from rnpc.program import Finding, Masks, Preprocessing, Program
from rnpc.speed import side_by_side

EFFORT, WARP, STRONG, BRIEF = Effort(), Effort(steps=48), Effort(steps=40), Effort(steps=32)
"""For costs that are compared; for warps; for strongest triggers; for the first look at `NEXT`."""
GLANCE, GLANCE_RMS = Effort(steps=16), 0.12
"""For the first look at labels: how long, and root mean square of the change."""
SECOND = 1000
"""Added to the seed where triggers are inverted once more."""
ABOVE_NEXT = 1.5
"""Budget of the strongest all-to-all trigger over the cost of the cheapest: no other label is there to compare with."""


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
    labels = candidates(subject, norms, request.seed)
    course, masks, triggers = study(request, subject, labels)
    missed = missed_next(subject, triggers[-1], subject.judge)
    if missed <= LIMITS["next"][1]:
        triggers = [*triggers[:-1], *all_to_all(request, subject)]
    accusation, held_out = judged(subject, triggers, missed)
    if close(accusation, AGAIN):
        triggers = again(request, subject, triggers)
        accusation, held_out = judged(subject, triggers, missed)
    found, verdict = None, accusation.verdict
    if verdict == "backdoored" or request.force or close(accusation, DOUBT):
        found = remove(request, subject, accusation, triggers)
        verdict = "backdoored" if close(accusation, DOUBT) and cut.confirms(found) else verdict
    if verdict != "backdoored" and not request.force:
        found = None
    return conclude(request, subject, accusation, verdict, triggers, held_out, norms, course, masks, found)


def judged(subject: Subject, triggers: list[Inverted], missed: float) -> tuple[Accusation, tuple[float, ...]]:
    """Whom the triggers accuse, and the success of each on judged images."""
    held_out = tuple(success(subject, t, subject.judge) for t in triggers)
    costs = {(t.label, t.form): t.cost for t in triggers}
    return accuse(costs, dict(zip(costs, held_out, strict=True)), missed), held_out


def again(request: Request, subject: Subject, triggers: list[Inverted]) -> list[Inverted]:
    """The triggers, those for pixels from the cheaper of two starts."""
    places = [place for place, t in enumerate(triggers) if t.form in PIXELS and t.label != NEXT]
    jobs = [partial(invert, subject, triggers[i].label, triggers[i].form, seed=request.seed + SECOND, effort=EFFORT) for i in places]
    request.tell("invert triggers once more", None, None)
    result = list(triggers)
    for place, other in zip(places, side_by_side(jobs, subject.device.type), strict=True):
        result[place] = min(triggers[place], other, key=lambda t: (not t.held, t.cost))
    return result


def study(request: Request, subject: Subject, labels: list[int]) -> tuple[list[rnp.Point], Masks, list[Inverted]]:
    """Beside each other: the course and the masks of a short unlearning and recovery, and the triggers of each label in each form.

    The last trigger is a brief one for `NEXT`.
    """
    jobs: list[tuple[int, Form, Effort]] = [(label, form, EFFORT) for label in labels for form in PIXELS]
    jobs += [(label, "warp", WARP) for label in labels[:WARPED]]
    jobs.append((NEXT, "additive", BRIEF))
    course, masks, triggers, done = list[rnp.Point](), Masks(), dict[int, Inverted](), count()

    def unlearn() -> None:
        found, recovered = reconstruct(request, subject)
        course.extend(found)
        masks.update(recovered)

    def trigger(place: int, label: int, form: Form, effort: Effort) -> None:
        triggers[place] = invert(subject, label, form, seed=request.seed, effort=effort)
        request.tell("unlearn and invert triggers", (next(done) + 1) / len(jobs), None)

    request.tell("unlearn and invert triggers", 0.0, None)
    work: list[Callable[[], None]] = [unlearn, *(partial(trigger, place, *job) for place, job in enumerate(jobs))]
    side_by_side(work, subject.device.type)
    return course, masks, [triggers[place] for place in range(len(jobs))]


def candidates(subject: Subject, norms: np.ndarray, seed: int) -> list[int]:
    """The labels that may be a backdoor's: the one with the smallest norm, then those that a brief trigger comes nearest to."""
    seen = [int(label) for label in np.argsort(norms, kind="stable")[:LOOKED]]
    found = side_by_side([partial(far, subject, label, seed) for label in seen], subject.device.type)
    near = [label for _, label in sorted(zip(found, seen, strict=True))]
    return [seen[0], *(label for label in near if label != seen[0])][:CANDIDATES]


def far(subject: Subject, label: int, seed: int) -> float:
    """Mean cross-entropy of the label on learn images with a trigger that was given little time and cost."""
    budget = GLANCE_RMS * float(np.sqrt(subject.learn.pixels[0].numel()))
    return distance(subject, strongest(subject, label, "additive", budget, seed=seed, effort=GLANCE), subject.learn)


def all_to_all(request: Request, subject: Subject) -> list[Inverted]:
    """The cheapest triggers for `NEXT`."""
    jobs = [partial(invert, subject, NEXT, form, seed=request.seed, effort=EFFORT) for form in PIXELS]
    return side_by_side(jobs, subject.device.type)


def reconstruct(request: Request, subject: Subject) -> tuple[list[rnp.Point], Masks]:
    """A short unlearning and recovery on a copy with BatchNorm put back."""
    schedule = rnp.Schedule(unlearn_steps=16, recover_steps=12, batch=32, stop=1.5 / subject.classes, epoch=2)
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
    """Search for the cut after which the accused label's strongest trigger is a natural one."""
    means, deviations = clean_moments(subject, subject.learn)
    label, costs = accusation.label, {(t.label, t.form): t.cost for t in triggers}
    if label == NEXT:
        budgets, other = {form: ABOVE_NEXT * costs[NEXT, form] for form in accusation.forms}, dict[Form, int]()
    else:
        budgets = {form: float(np.sqrt(max(costs[label, form], 1e-6) * accusation.reference[form])) for form in accusation.forms}
        other = {form: cheapest_other(costs, label, form) for form in accusation.forms}

    def told(what: str, accuracy: float | None) -> None:
        request.tell(what, None, accuracy)

    return cut.search(cut.Task(subject, means, deviations, label, budgets, other, request.max_ca_drop, request.seed, STRONG, told))


def cheapest_other(costs: dict[tuple[int, Form], float], label: int, form: Form) -> int:
    """The label whose cost is the reference."""
    dear = reference(costs, label, form)
    return next(who for (who, kind), cost in costs.items() if kind == form and who not in (label, NEXT) and cost <= dear)


def conclude(
    request: Request,
    subject: Subject,
    accusation: Accusation,
    verdict: Verdict,
    triggers: list[Inverted],
    held_out: tuple[float, ...],
    norms: np.ndarray,
    course: list[rnp.Point],
    masks: Masks,
    found: cut.Search | None,
) -> Decision:
    """Put everything into a decision."""
    chosen = None if found is None or found.chosen is None else found.cuts[found.chosen]
    channels: tuple[Channel, ...] = () if found is None or found.chosen is None else found.made[found.chosen]
    votes = course[-1].votes if course else np.zeros(subject.classes)
    share = float("nan") if accusation.label == NEXT else float(votes[accusation.label])
    numbers = {"ratio": accusation.numbers[accusation.rule], **{f"rule_{rule}": value for rule, value in accusation.numbers.items()}}
    numbers |= {f"ratio_{form}": value for form, value in accusation.by_form.items()}
    reasons: tuple[str, ...] = (said(accusation),)
    if close(accusation, DOUBT):
        reasons += (doubt_words(verdict),)
    if found is not None and chosen is not None:
        numbers |= {f"strongest_{form}_before": value for form, value in found.cuts[0].success.items()}
        numbers |= {f"strongest_{form}_after": value for form, value in chosen.success.items()}
        reasons += tuple(after_words(found, chosen))
    evidence = Evidence(
        norms=norms,
        z=latent.robust_z(norms),
        votes=votes,
        course=tuple(course),
        masks=masks,
        triggers=tuple(triggers),
        held_out=held_out,
        scores=scores_of(subject, found),
        cuts=() if found is None else tuple(found.cuts),
        levels={} if found is None else by_name(found.levels),
        chosen=None if found is None else found.chosen,
        numbers=numbers,
    )
    rows = split(request.images, request.labels, request.seed, request.max_ca_drop)[1]
    ranking = () if found is None else whole(found)
    threshold = None if chosen is None else chosen.threshold
    accused = ((accusation.label, share),) if verdict != "clean" or request.force else ()
    return Decision(Finding(None if request.force else verdict, accused, None, reasons), channels, ranking, rows, evidence, threshold)


def by_name(values: Mapping[Form, float]) -> dict[str, float]:
    """Values of forms by the forms' names."""
    return {str(form): value for form, value in values.items()}


def said(accusation: Accusation) -> str:
    """What the most suspicious rule saw."""
    number = accusation.numbers[accusation.rule]
    if accusation.rule == "next":
        return f"one trigger sends {1 - number:.0%} of the judged images to the label after their own"
    kind = "warp" if accusation.rule == "warp" else "additive and patch triggers"
    verb = "costs" if accusation.rule == "warp" else "cost"
    return f"the cheapest {kind} for label {accusation.label} {verb} {number:.2f} of what another label's {verb}"


def doubt_words(verdict: Verdict) -> str:
    """What the cut said where costs alone leave a doubt."""
    if verdict == "backdoored":
        return "a few channels carry most of that trigger's strength, as they do in a backdoor"
    return "no cut within the accuracy budget takes most of that trigger's strength away, as one does from a backdoor"


def after_words(found: cut.Search, chosen: cut.Judged) -> list[str]:
    """What the strongest triggers do after the cut, and a warning where that is more than natural."""
    words = [
        f"the strongest {form} trigger of cost {found.budgets[form]:.2f} reached {found.cuts[0].success[form]:.0%} of the judged images "
        f"before the cut and reaches {after:.0%} after it (natural: {found.levels[form]:.0%})"
        for form, after in chosen.success.items()
    ]
    if found.excess(found.cuts[0].success) <= 0:
        words.append("at this cost the label's trigger was no stronger than another's even before the cut: what the cut did cannot be told")
    elif found.excess(chosen.success) > 0:
        words.append("the backdoor is weakened and may not be gone: give more images or a larger --max-ca-drop, and measure")
    return words


def scores_of(subject: Subject, found: cut.Search | None) -> Masks:
    """Site -> suspicion score of each channel, for the report."""
    if found is None:
        return {}
    scores = {site.value: np.zeros(site.channels, dtype=np.float32) for site in subject.sites}
    for channel in reversed(whole(found)):
        scores[channel.site][channel.index] = max(channel.score, 0.0)
    return scores


def whole(found: cut.Search) -> tuple[Channel, ...]:
    """The channels of the cut (of the last one where none is made), then all others by the first ranking."""
    path = found.made[-1 if found.chosen is None else found.chosen]
    gone = {(channel.site, channel.index) for channel in path}
    return (*path, *(c for c in found.ranked if (c.site, c.index) not in gone))
