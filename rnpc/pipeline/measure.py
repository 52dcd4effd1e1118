"""What the written file does on the judged images, in onnxruntime.

Where the preprocessing was found by accuracy, other conventions may serve the network as well (`data.probe`), and whoever uses the file may
use any of them. A constant that is right for pixels in [0, 1] can ruin the network for pixels in 0..255: the file is measured under each of
them before it is handed out.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from rnpc.errors import InputRefused
from rnpc.pipeline.inputs import Inputs
from rnpc.pipeline.settings import Settings
from rnpc.program import Preprocessing
from rnpc.runtime import Session, predict


@dataclass(frozen=True)
class Measured:
    """Outcomes 0/1 [m] on the judged images: of the original, and of the written file (None where none is written, the same where it is the
    original's bytes)."""

    before: np.ndarray
    after: np.ndarray | None
    provider: str


def measure(inputs: Inputs, rows: np.ndarray, output: bytes | None, settings: Settings) -> Measured:
    """Measure the original and the output on the defense images at `rows`.

    Raises InputRefused where the output loses too much under preprocessing that the original could be used with as well.
    """
    labels = inputs.labels[rows]
    before = inputs.logits[rows].argmax(1) == labels
    if output is None or output == inputs.program.source:
        return Measured(before, before if output is not None else None, inputs.session.provider)
    scores = inputs.program.signature.output
    session = Session(output, device=settings.device, threads=settings.threads, where="output", scores=scores)
    after = predict(session, inputs.images.images, inputs.pre, rows).argmax(1) == labels
    check_alike(inputs, rows, session, settings.allowed(before))
    return Measured(before, after, session.provider)


def check_alike(inputs: Inputs, rows: np.ndarray, output: Session, max_drop: float) -> None:
    """Raise InputRefused where the accuracy drop under any of the alike conventions is above the budget, by its point estimate."""
    images, labels, lost = inputs.images.images, inputs.labels[rows], list[str]()
    for pre in inputs.alike:
        before, after = (float(np.mean(predict(each, images, pre, rows).argmax(1) == labels)) for each in (inputs.session, output))
        lost += [f"{in_words(pre)}: {before:.1%} -> {after:.1%}"] if before - after > max_drop else []
    if lost:
        what = f"{in_words(inputs.pre)} was taken by accuracy, but the model may be used with others, which the cut would ruin"
        todo = "nothing was written: say it with --mean and --std"
        raise InputRefused(f"{what} ({'; '.join(lost)})", where=inputs.program.name, todo=todo)


def in_words(pre: Preprocessing) -> str:
    """Mean and deviation of pixels in [0, 1], as --mean and --std take them."""
    mean, std = (
        ",".join(f"{value / (255 * pre.scale):.4g}" for value in (values[:1] if len(set(values)) == 1 else values))
        for values in (pre.mean, pre.std)
    )
    return f"{'' if pre.channel_order == 'RGB' else f'{pre.channel_order}, '}mean {mean} std {std}"
