"""A fabricated run: numbers that look like those of a real one, so that the report can be looked at without hardening anything."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from rnpc.report import ClassRow, Cut, Evidence, Step, Trigger

COUNTS = (0, 1, 2, 4, 6, 8, 12, 16, 24, 32, 48, 64)
PRUNED = {"layer4.1/conv1": [3, 17, 90, 201], "layer4.1/conv2": [8, 77], "layer3.0/conv1": [40], "layer1.0/conv2": [5]}


def sites() -> dict[str, int]:
    """A ResNet-18 of width 32."""
    widths = {f"layer{stage}.{block}/conv{i}": 32 * 2 ** (stage - 1) for stage in (1, 2, 3, 4) for block in (0, 1) for i in (1, 2)}
    return {"stem/conv": 32, **widths}


@pytest.fixture(scope="session")
def document() -> dict[str, Any]:
    """A document of schema rnpc.harden/1 with a finding."""
    return {
        "schema": "rnpc.harden/1", "rnpc": "0.1.0", "method": "rnp", "seed": 1,
        "input": {"path": "model.onnx", "sha256": "a1" * 32}, "output": {"path": "model.hardened.onnx", "sha256": "b2" * 32},
        "settings": {"max_ca_drop": 0.02, "threads": 2, "device": "cpu", "labels": "folders", "mean": [0.5], "std": [0.5]},
        "verdict": "backdoored", "confidence": None, "target_labels": [{"index": 0, "name": "speed limit 20", "share": 0.66}],
        "pruned": {"channels": 8, "of": 2400, "sites": [{"site": s, "channels": c} for s, c in PRUNED.items()]},
        "threshold": 0.31, "accuracy": {"before": 0.974, "after": 0.972, "interval": [0.953, 0.985], "images": 500},
        "edits": [{"kind": "zero", "tensor": s, "index": c} for s, c in PRUNED.items()]
        + [{"kind": "set", "tensor": s + ".bias", "index": c, "bits": ["00000000"] * len(c)} for s, c in PRUNED.items()],
        "notes": ["Preprocessing was found by a probe: mean 0.5, std 0.5 (margin 4.1 points)."],
    }  # fmt: skip


@pytest.fixture(scope="session")
def evidence() -> Evidence:
    """Evidence in every part."""
    rng = np.random.default_rng(0)
    scores = {s: rng.exponential(0.02, n).astype(np.float32) for s, n in sites().items()}
    masks = {s: np.clip(1 - rng.exponential(0.03, n), 0, 1).astype(np.float32) for s, n in sites().items()}
    for site, channels in PRUNED.items():
        scores[site][channels] = 0.32 + 0.5 * rng.random(len(channels))
        masks[site][channels] = 0.2 * rng.random(len(channels))
    return Evidence(
        course=course(rng), masks=masks, scores=scores, pruned=PRUNED, cuts=cuts(), chosen=5,
        levels={"patch": 0.1, "additive": 0.35}, triggers=triggers(rng),
        classes=(ClassRow(0, "speed limit 20", 1.1, -4.1, 3.2, 9.5, 2.4, 0.66), *map(other_class, range(1, 43))),
    )  # fmt: skip


def other_class(label: int) -> ClassRow:
    """A class that nobody attacks; inverted triggers were looked for in some."""
    looked = label % 7 == 0
    norm = 2 + 0.05 * (label * 17 % 43)
    costs = (18.0 + label, 220.0) if looked else (None, None)
    return ClassRow(label, f"class {label:02d}", norm, (norm - 3) / 0.6, *costs, vote=0.008)


def course(rng: np.random.Generator) -> tuple[Step, ...]:
    """Forty steps of unlearning that end on label 0."""
    out = []
    for i in range(40):
        fall = 1 / (1 + np.exp((i - 18) / 3))
        votes = rng.dirichlet(np.full(43, 4.0)) * (0.35 + 0.6 * fall)
        votes[0] += 1 - votes.sum()
        out.append(Step(i * 5, 0.02 + 0.955 * fall, 0.1 + 6 * (1 - fall), votes))
    return tuple(out)


def cuts() -> tuple[Cut, ...]:
    """A sweep with a cliff at its end."""
    accuracy = (0.974, 0.974, 0.974, 0.972, 0.974, 0.972, 0.970, 0.968, 0.966, 0.961, 0.951, 0.921)
    success = (1.0, 1.0, 0.96, 0.42, 0.11, 0.02, 0.0, 0.01, 0.0, 0.0, 0.0, 0.0)
    return tuple(
        Cut(n, 0.9 / (1 + 0.25 * n), a, a - 0.017, min(a + 0.013, 1.0), 0.974 - a + 0.008, {"patch": s, "additive": 0.2 + 0.8 * s})
        for n, a, s in zip(COUNTS, accuracy, success, strict=True)
    )


def triggers(rng: np.random.Generator) -> tuple[Trigger, ...]:
    """A patch and an additive trigger on a smooth picture."""
    y, x = np.mgrid[0:32, 0:32] / 31
    image = np.stack([0.3 + 0.5 * x, 0.4 + 0.3 * y, 0.6 - 0.3 * x * y])
    patch = np.zeros((3, 32, 32))
    patch[:, 28:31, 28:31] = np.indices((3, 3)).sum(0) % 2 - image[:, 28:31, 28:31]
    noise = rng.normal(0, 0.05, (3, 32, 32))
    return (Trigger(0, "patch", 9.5, 0.998, image + patch, patch), Trigger(0, "additive", 3.2, 0.985, image + noise, noise))
