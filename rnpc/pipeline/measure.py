"""What the written file does on the judged images, in onnxruntime."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from rnpc.pipeline.inputs import Inputs
from rnpc.pipeline.settings import Settings
from rnpc.runtime import Session, predict


@dataclass(frozen=True)
class Measured:
    """Outcomes 0/1 [m] on the judged images: of the original, and of the written file (None where none is written, the same where it is the
    original's bytes)."""

    before: np.ndarray
    after: np.ndarray | None
    provider: str


def measure(inputs: Inputs, rows: np.ndarray, output: bytes | None, settings: Settings) -> Measured:
    """Measure the original and the output on the defense images at `rows`."""
    labels = inputs.labels[rows]
    before = inputs.logits[rows].argmax(1) == labels
    if output is None or output == inputs.program.source:
        return Measured(before, before if output is not None else None, inputs.session.provider)
    session = Session(output, device=settings.device, threads=settings.threads, where="output")
    after = predict(session, inputs.images.images[rows], inputs.pre).argmax(1) == labels
    return Measured(before, after, session.provider)
