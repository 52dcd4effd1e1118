"""A fabricated run: numbers that look like those of a real one, so that the report can be looked at without hardening anything."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from rnpc.panel import Curve, HeatMap, Histogram, Images, Line, Panel, Picture, Table, Words

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
        "schema": "rnpc.harden/1", "rnpc": "0.1.0", "method": "auto", "seed": 1,
        "input": {"path": "model.onnx", "sha256": "a1" * 32}, "output": {"path": "model.hardened.onnx", "sha256": "b2" * 32},
        "data": {"images": 500, "sha256": "c3" * 32, "labels": "folders"}, "provider": "CPUExecutionProvider", "twin_difference": 1.2e-6,
        "settings": {"max_ca_drop": 0.02, "threads": 2, "device": "cpu", "labels": "folders", "mean": [0.5], "std": [0.5]},
        "verdict": "backdoored", "confidence": 0.0004, "target_labels": [{"index": 0, "name": "speed limit 20", "share": 0.66}],
        "reasons": ["a patch of 9.5 pixels sends 99.8 % of images to label 0; the next label needs 220 pixels"],
        "left": {
            **{"success": 0.03, "before": 0.98, "natural": 0.05, "told": True, "words": "best of 214 triggers"},
            **{"relapse": 0.0, "relapse_bound": 0.01, "relapse_by": "white 3 x 3 at corner, put on five of the images"},
        },
        "unseen": ["attacks that succeed on less than a third of images", "triggers that rotate or crop"],
        "pruned": {"channels": 8, "of": 2400, "sites": [{"site": s, "channels": c} for s, c in PRUNED.items()]},
        "threshold": 0.31, "accuracy": {"before": 0.974, "after": 0.972, "interval": [0.953, 0.985], "images": 500},
        "edits": [{"kind": "zero", "tensor": s, "index": c} for s, c in PRUNED.items()]
        + [{"kind": "set", "tensor": s + ".bias", "index": c, "bits": ["00000000"] * len(c)} for s, c in PRUNED.items()],
        "notes": ["Preprocessing was found by a probe: mean 0.5, std 0.5 (margin 4.1 points)."],
    }  # fmt: skip


@pytest.fixture(scope="session")
def panels() -> tuple[Panel, ...]:
    """Every kind of panel, as a run of the default method would give them."""
    rng = np.random.default_rng(0)
    scores = {site: rng.exponential(0.02, n) for site, n in sites().items()}
    for site, channels in PRUNED.items():
        scores[site][channels] = 0.32 + 0.5 * rng.random(len(channels))
    marked = {site: tuple(channels) for site, channels in PRUNED.items()}
    return (
        triggers(rng), *cuts(), classes(), HeatMap("Channels, layer by layer", scores, marked),
        *distributions(scores), *course(rng),
        Words("What was tried", ("214 triggers of four families after the cut", "a second cut of 12 channels, too dear"), "In order."),
    )  # fmt: skip


def triggers(rng: np.random.Generator) -> Images:
    """A patch and an additive trigger on a smooth picture, a minor one, and a picture alone."""
    y, x = np.mgrid[0:32, 0:32] / 31
    image = np.stack([0.3 + 0.5 * x, 0.4 + 0.3 * y, 0.6 - 0.3 * x * y])
    patch = np.zeros((3, 32, 32))
    patch[:, 28:31, 28:31] = np.indices((3, 3)).sum(0) % 2 - image[:, 28:31, 28:31]
    noise = rng.normal(0, 0.05, (3, 32, 32))
    name = "label 0 (speed limit 20)"
    pictures = (
        Picture(image + patch, patch, f"{name}, patch form\ncost 9.5 pixels; flips 99.8 % of held-out images"),
        Picture(image + noise, noise, f"{name}, additive form\ncost 3.2 L2; flips 98.5 % of held-out images"),
        Picture(image - noise, -noise, "label 7, additive form\ncost 31 L2; flips 61 %", minor=True),
        Picture(image, None, "the image alone", minor=True),
    )
    return Images("Recovered triggers", pictures, "They resemble what the model reacts to, not necessarily what an attacker used.")


def cuts() -> tuple[Curve, Curve]:
    """A sweep with a cliff at its end: accuracy, and the success of triggers."""
    x = np.array(COUNTS, float)
    accuracy = np.array([0.974, 0.974, 0.974, 0.972, 0.974, 0.972, 0.970, 0.968, 0.966, 0.961, 0.951, 0.921])
    patch = np.array([1.0, 1.0, 0.96, 0.42, 0.11, 0.02, 0.0, 0.01, 0.0, 0.0, 0.0, 0.0])
    judged = Line("accuracy", x, accuracy, accuracy - 0.017, np.minimum(accuracy + 0.013, 1))
    before = Line("before", x, np.full(len(x), 0.974), dashed=True)
    success = (
        Line("patch", x, patch),
        Line("patch, natural", x, np.full(len(x), 0.1), dashed=True),
        Line("additive", x, 0.2 + 0.8 * patch),
    )
    return (
        Curve(
            "What a cut costs",
            "channels cut",
            "accuracy",
            (judged, before),
            "Judged images learnt nothing.",
            8,
            ("limit", 0.954),
            even=True,
        ),
        Curve("What a cut takes away", "channels cut", "success", success, "Fresh triggers after each cut.", 8, even=True),
    )


def classes() -> Table:
    """43 classes; triggers were inverted for some, and one of the accused stands late."""

    def row(k: int) -> tuple[int, str, float, float, float | None, float]:
        norm = 2 + 0.05 * (k * 17 % 43)
        return k, f"class {k:02d}", norm, (norm - 3) / 0.6, 18.0 + k if k % 7 == 0 else None, 0.008

    rows = ((0, "speed limit 20", 1.1, -4.1, 3.2, 0.66), *map(row, range(1, 43)))
    columns = ("label", "name", "latent shift", "robust z", "additive cost", "vote")
    caption = "Robust z: distance from the median class in units of the median deviation."
    return Table("Evidence by class", columns, rows, caption, ("number", "text", "number", "number", "number", "share"), (0, 30))


def distributions(scores: dict[str, np.ndarray]) -> tuple[Histogram, Histogram]:
    """Scores of kept and cut channels, and margins of labels."""
    everything = np.concatenate(list(scores.values()))
    sets = {"kept": everything[everything < 0.31], "pruned": everything[everything >= 0.31]}
    margins = {"other labels": np.linspace(1, 4, 42) ** 1.1, "label 0": np.array([9.3])}
    return (
        Histogram("Scores", "suspicion score", sets, 0.31, "Channels are cut in falling order of the score.", narrow=True),
        Histogram("Margins over noise", "margin", margins, caption="One value a label.", narrow=True),
    )


def course(rng: np.random.Generator) -> tuple[Curve, Curve]:
    """Forty steps of unlearning that end on label 0."""
    x = np.arange(40) * 5.0
    fall = 1 / (1 + np.exp((np.arange(40) - 18) / 3))
    votes = rng.dirichlet(np.full(43, 4.0), 40) * (0.35 + 0.6 * fall)[:, None]
    lines = (Line("speed limit 20", x, 1 - votes[:, 1:].sum(1)), *(Line("", x, votes[:, k]) for k in range(1, 43)))
    caption = "A copy is trained to forget its clean task."
    return (
        Curve("Course of unlearning", "step", "accuracy", (Line("accuracy", x, 0.02 + 0.955 * fall),), caption, narrow=True),
        Curve("Votes while unlearning", "step", "share of votes", lines, "What it answers then.", narrow=True),
    )
