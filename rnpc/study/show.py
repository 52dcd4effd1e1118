"""Panels that several methods show: inverted triggers, the course of unlearning, masks and scores of channels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from rnpc.panel import Curve, HeatMap, Histogram, Images, Line, Picture
from rnpc.study.case import Case
from rnpc.study.forms import FORMS
from rnpc.study.inversion import NEXT, Inverted
from rnpc.study.surgery import Channel

COURSE = (
    "A copy of the model is trained to forget its clean task. What it still answers then is what a backdoor holds up; but clean models "
    "also collapse onto one label at times, so votes alone are no verdict."
)
TRIGGERS = (
    "Left an image with the trigger, right the change alone (grey is none, contrast stretched). Triggers are searched for on clean images. "
    "They resemble what the model reacts to, not necessarily what an attacker used."
)
HEAT = "Each row is a layer, input at the top; each cell is a channel. Darker is more suspicious. Marks stand over channels that were cut."


def trigger_panel(case: Case, triggers: Sequence[Inverted], reached: Sequence[float], accused: Sequence[int]) -> Images:
    """Each trigger on the first judged image of another class; those of labels that are not accused are smaller."""
    pictures = []
    for trigger, share in zip(triggers, reached, strict=True):
        row = int((case.judge.labels != trigger.label).int().argmax())
        plain = case.judge.pixels(slice(row, row + 1))
        shown = trigger.apply(plain)
        words = f"{named(case, trigger.label)}, {trigger.form} form; cost {trigger.cost:.3g} {FORMS[trigger.form].unit}"
        words += f"; flips {share:.0%} of held-out images"
        minor = bool(accused) and (trigger.label not in accused or not trigger.held)
        pictures.append(Picture(shown[0].cpu().numpy(), (shown - plain)[0].cpu().numpy(), words, minor))
    return Images("Recovered triggers", tuple(pictures), TRIGGERS)


def course_panel(case: Case, steps: Sequence[int], accuracy: Sequence[float], votes: np.ndarray) -> Curve:
    """Accuracy and the largest votes over the steps of unlearning; `votes` [steps, K]."""
    x = np.asarray(steps, dtype=float)
    most = [int(k) for k in np.argsort(-votes[-1], kind="stable")[:3]] if len(votes) else []
    lines = (Line(f"votes for {named(case, k)}", x, votes[:, k], dashed=True) for k in most)
    return Curve("Course of unlearning", "step", "share of images", (Line("accuracy", x, np.asarray(accuracy)), *lines), COURSE)


def mask_panel(masks: Mapping[str, np.ndarray], threshold: float | None = None) -> Histogram:
    """Masks of all channels."""
    flat = np.concatenate([*masks.values()]) if masks else np.zeros(0)
    return Histogram("Recovered masks", "mask", {"masks": flat}, threshold, "A mask of 1 keeps a channel; counts on a logarithmic axis.")


def score_panels(case: Case, ranking: Sequence[Channel], gone: Sequence[Channel], threshold: float | None) -> tuple[HeatMap, Histogram]:
    """Suspicion by layer, and its histogram with the threshold."""
    scores = {site.value: np.zeros(site.channels, dtype=np.float32) for site in case.subject.sites}
    for channel in reversed(ranking):
        if channel.site in scores:
            scores[channel.site][channel.index] = max(channel.score, 0.0)
    marked: dict[str, list[int]] = {}
    for channel in gone:
        marked.setdefault(channel.site, []).append(channel.index)
    places = {site: tuple(sorted(channels)) for site, channels in marked.items()}
    flat = np.concatenate([*scores.values()]) if scores else np.zeros(0)
    histogram = Histogram("Scores of channels", "score", {"scores": flat}, threshold, "Channels are cut in falling order of the score.")
    return HeatMap("Channels, layer by layer", scores, places, HEAT), histogram


def named(case: Case, label: int) -> str:
    """A label as a report calls it."""
    if label == NEXT:
        return "the label after an image's own"
    return f"label {label}" if case.names is None or case.names[label] == str(label) else f"label {label} ({case.names[label]})"
