"""The JSON document of a hardening run (schema rnpc.harden/1).

Nothing here depends on when or where a run took place: paths are base names, durations stay out.
"""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np

from rnpc import __version__
from rnpc.defenses.base import Left, Nothing
from rnpc.errors import InputRefused
from rnpc.panel import Panel
from rnpc.passes.facts import intake
from rnpc.passes.rewrite import kept
from rnpc.pipeline.edited import kept_panels, optimised_panels
from rnpc.pipeline.harden import Hardened
from rnpc.pipeline.inputs import Inputs
from rnpc.pipeline.measure import Measured
from rnpc.pipeline.optimise import refused_json
from rnpc.pipeline.unseen import unseen
from rnpc.stats import drop_bound, rate
from rnpc.study.inversion import NEXT


def document_of(run: Hardened, name: str | None) -> dict[str, Any]:
    """The document, ready for JSON. `name`: base name of the output."""
    program, decision, plan = run.inputs.program, run.decision, run.plan
    written = None if run.data is None else {"path": name, "sha256": hashlib.sha256(run.data).hexdigest()}
    return {
        "schema": "rnpc.harden/1",
        "rnpc": __version__,
        "input": {"path": program.name, "sha256": program.sha256},
        "data": {"images": len(run.inputs.images), "sha256": run.inputs.images.digest, "labels": label_source(run.inputs)},
        "method": run.settings.method,
        "settings": settings_of(run),
        "seed": run.settings.seed,
        "verdict": decision.finding.verdict,
        "confidence": decision.finding.confidence,
        "target_labels": [
            {"index": index_of(label), "name": name_of(run.inputs, label), "share": finite(round(share, 6))}
            for label, share in decision.finding.labels
        ],
        "evidence": evidence_of(run),
        "reasons": list(decision.finding.reasons),
        "left": left_of(decision.outcome.left),
        "why": decision.outcome.why if isinstance(decision.outcome, Nothing) else None,
        "pruned": {
            "channels": 0 if plan is None else plan.channels,
            "of": program.channels,
            "sites": [] if plan is None else [{"site": s.site, "channels": list(s.channels)} for s in plan.sites],
        },
        "retrained": 0 if plan is None or plan.weights is None else len(plan.weights.tensors),
        "threshold": None if plan is None else plan.threshold,
        "accuracy": accuracy_of(run.measured),
        "edits": run.edits,
        "kept": kept.listed(run.kept),
        "output": written,
        "optimised": optimised_of(run),
        "provider": run.measured.provider,
        "twin_difference": float(f"{run.difference:.1e}"),
        "notes": notes_of(run.inputs),
        "warnings": intake.warnings(program.model),
        "unseen": unseen(decision.detection),
    }


def panels_of(run: Hardened) -> tuple[Panel, ...]:
    """Everything that is shown, the detection's first, what became of the file last."""
    detection = run.decision.detection
    found = (*(() if detection is None else detection.panels), *run.decision.outcome.panels)
    return (*found, *kept_panels(run.kept), *optimised_panels(optimised_of(run)))


def optimised_of(run: Hardened) -> dict[str, Any] | None:
    """The second file, or why there is none."""
    found, name = run.optimised, None if run.settings.optimize is None else run.settings.optimize.name
    return None if found is None else refused_json(name, found) if isinstance(found, InputRefused) else found.json(name)


def evidence_of(run: Hardened) -> dict[str, float | None]:
    """Numbers of detection and outcome, rounded."""
    detection = run.decision.detection
    numbers = {**({} if detection is None else detection.numbers), **run.decision.outcome.numbers}
    return {key: finite(round(float(value), 6)) for key, value in numbers.items()}


def left_of(left: Left) -> dict[str, Any]:
    """What the judge says is left of the trigger."""
    share, bound, by = (None, None, None) if left.relapse is None else (left.relapse.share, left.relapse.bound, left.relapse.by)
    values = {"before": left.before, "success": left.success, "natural": left.natural, "relapse": share, "relapse_bound": bound}
    narrow = None if left.narrow is None else {"class": left.narrow[0], "success": round(left.narrow[1], 6)}
    rounded = {key: None if value is None else round(value, 6) for key, value in values.items()}
    return {**rounded, "relapse_by": by, "told": left.told, "narrow": narrow}


def settings_of(run: Hardened) -> dict[str, Any]:
    """Every setting with its value, inferred ones with their source."""
    pre = {k: list(v) if isinstance(v, tuple) else v for k, v in vars(run.inputs.pre).items() if k != "sources"}
    witness = run.settings.witness()
    return {
        "max_ca_drop": run.settings.max_ca_drop,
        "device": run.settings.device,
        "threads": run.settings.threads,
        "force": run.settings.force,
        "mode": run.settings.mode,
        "detector": None if witness is None else witness.name,
        **run.settings.defense().settings(),
        "preprocessing": {**pre, "sources": dict(run.inputs.pre.sources)},
    }


def accuracy_of(measured: Measured) -> dict[str, Any]:
    """Accuracy of both files on the judged images, with the 95 % interval of the written one and the bound of the paired drop."""
    before, after = measured.before, measured.after
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


def notes_of(inputs: Inputs) -> list[str]:
    """The inputs' notes, but for the warnings, which have a field of their own; says so where the model labelled its own images."""
    warnings = intake.warnings(inputs.program.model)
    own = ["no labels were given: the model's own answers were taken as the truth"] if inputs.images.labels is None else []
    return [*(note for note in inputs.notes if note not in warnings), *own]


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


def finite(value: float) -> float | None:
    """None for what was not computed."""
    return float(value) if np.isfinite(value) else None
