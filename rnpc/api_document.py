"""The JSON document of a hardening run (schema rnpc.harden/1) and the evidence for its report.

Nothing here depends on when or where a run took place: paths are base names, durations stay out.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from rnpc import __version__
from rnpc.api_inputs import Inputs
from rnpc.method.cut import Judged
from rnpc.method.decision import Decision
from rnpc.method.trigger import NEXT, Inverted
from rnpc.passes import intake
from rnpc.program import Plan
from rnpc.report.evidence import ClassRow, Cut, Evidence, Step, Trigger
from rnpc.stats import drop_bound, rate

if TYPE_CHECKING:
    from rnpc.api import Settings


def document_of(
    inputs: Inputs,
    settings: Settings,
    decision: Decision,
    plan: Plan | None,
    edits: list[dict[str, Any]],
    output: bytes | None,
    measured: dict[str, Any],
    difference: float,
    name: str | None,
) -> dict[str, Any]:
    """The document, ready for JSON."""
    program = inputs.program
    written = None if output is None else {"path": name, "sha256": hashlib.sha256(output).hexdigest()}
    return {
        "schema": "rnpc.harden/1",
        "rnpc": __version__,
        "input": {"path": program.name, "sha256": program.sha256},
        "data": {"images": len(inputs.images), "sha256": inputs.images.digest, "labels": label_source(inputs)},
        "method": settings.method,
        "settings": settings_of(inputs, settings),
        "seed": settings.seed,
        "verdict": decision.finding.verdict,
        "confidence": decision.finding.confidence,
        "target_labels": [
            {"index": index_of(label), "name": name_of(inputs, label), "share": finite(round(share, 6))}
            for label, share in decision.finding.labels
        ],
        "evidence": {key: finite(round(float(value), 6)) for key, value in decision.evidence.numbers.items()},
        "reasons": list(decision.finding.reasons),
        "pruned": {
            "channels": 0 if plan is None else plan.channels,
            "of": program.channels,
            "sites": [] if plan is None else [{"site": s.site, "channels": list(s.channels)} for s in plan.sites],
        },
        "threshold": None if plan is None else plan.threshold,
        "accuracy": accuracy_of(measured),
        "edits": edits,
        "output": written,
        "provider": measured["provider"],
        "twin_difference": float(f"{difference:.1e}"),
        "notes": [*inputs.notes, *label_note(inputs)],
        "warnings": list(intake.warnings(program.model)),
    }


def settings_of(inputs: Inputs, settings: Settings) -> dict[str, Any]:
    """Every setting with its value, inferred ones with their source."""
    pre = {k: list(v) if isinstance(v, tuple) else v for k, v in vars(inputs.pre).items() if k != "sources"}
    return {
        "max_ca_drop": settings.max_ca_drop,
        "device": settings.device,
        "threads": settings.threads,
        "force": settings.force,
        "preprocessing": {**pre, "sources": dict(inputs.pre.sources)},
    }


def accuracy_of(measured: dict[str, Any]) -> dict[str, Any]:
    """Accuracy of both files on the judged images, with the 95 % interval of the written one and the bound of the paired drop."""
    before, after = measured["before"], measured["after"]
    old = rate(int(before.sum()), len(before))
    entry: dict[str, Any] = {"before": round(old.value, 6), "interval_before": [round(old.low, 6), round(old.high, 6)]}
    if after is None:
        return {**entry, "after": None, "interval": None, "drop_bound": None, "images": len(before)}
    new = rate(int(after.sum()), len(after))
    bound = drop_bound(before, after)[1] if (before != after).any() or after is not before else 0.0
    interval = [round(new.low, 6), round(new.high, 6)]
    return {**entry, "after": round(new.value, 6), "interval": interval, "drop_bound": round(bound, 6), "images": len(before)}


def label_source(inputs: Inputs) -> str:
    """Where labels came from."""
    return "model" if inputs.images.labels is None else inputs.order.rule if inputs.order is not None else "given"


def label_note(inputs: Inputs) -> list[str]:
    """Says so where the model labelled its own images."""
    return ["no labels were given: the model's own answers were taken as the truth"] if inputs.images.labels is None else []


def index_of(label: int) -> int | None:
    """An output's index; None for all-to-all, where each image has a target of its own."""
    return None if label == NEXT else label


def name_of(inputs: Inputs, label: int) -> str:
    """A label's name: the model's, else the data's, else its index."""
    if label == NEXT:
        return "next"
    for names in (inputs.names, inputs.images.classes):
        if names is not None and label < len(names):
            return names[label]
    return str(label)


def report_evidence(inputs: Inputs, decision: Decision) -> Evidence:
    """The decision's evidence as the report draws it."""
    found = decision.evidence
    pruned: dict[str, list[int]] = {}
    for channel in decision.cut:
        pruned.setdefault(channel.site, []).append(channel.index)
    pairs = zip(found.triggers, found.held_out, strict=True)
    return Evidence(
        course=tuple(Step(p.step, p.accuracy, p.loss, p.votes) for p in found.course),
        masks=found.masks,
        scores=found.scores,
        pruned={name: sorted(channels) for name, channels in pruned.items()},
        cuts=tuple(cut_of(cut) for cut in found.cuts),
        chosen=found.chosen,
        levels=found.levels,
        triggers=tuple(trigger_of(inputs, trigger, held) for trigger, held in pairs),
        classes=class_rows(inputs, decision),
    )


def cut_of(cut: Judged) -> Cut:
    """A judged cut for the report."""
    success = {str(form): value for form, value in cut.success.items()}
    return Cut(cut.channels, cut.threshold, cut.accuracy, cut.low, cut.high, cut.bound, success)


def trigger_of(inputs: Inputs, trigger: Inverted, held: float) -> Trigger:
    """A trigger on the first defense image of another class."""
    images, labels = inputs.images.images, inputs.images.labels
    row = 0 if labels is None else int(np.argmax(labels != trigger.label))
    pixels = torch.from_numpy(images[row].transpose(2, 0, 1).copy()).float()[None] / 255
    shown = trigger.apply(pixels.to(trigger.change.shift.device)).cpu()
    return Trigger(index_of(trigger.label), trigger.form, trigger.cost, held, shown[0].numpy(), (shown - pixels)[0].numpy(), trigger.held)


def class_rows(inputs: Inputs, decision: Decision) -> tuple[ClassRow, ...]:
    """What is known of each class."""
    found = decision.evidence
    costs = {(t.label, t.form): t.cost for t in found.triggers}
    return tuple(
        ClassRow(
            k, name_of(inputs, k), finite(found.norms[k]), finite(found.z[k]),
            costs.get((k, "additive")), costs.get((k, "patch")), costs.get((k, "warp")), float(found.votes[k]),
        )
        for k in range(len(found.norms))
    )  # fmt: skip


def finite(value: float) -> float | None:
    """None for what was not computed."""
    return float(value) if np.isfinite(value) else None
