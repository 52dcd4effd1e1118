"""The graphs of a verified plan side by side in onnxruntime: the original, its zeroed and its removed form, and the file itself.

Zeroed and removed graphs differ by the order of float sums alone. A distance is the largest difference of two sets of scores, relative to
the largest score of the zeroed graph.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from rnpc.errors import InputRefused
from rnpc.passes.rewrite.apply import apply
from rnpc.pipeline import inputs as settled
from rnpc.runtime import Session, parity, predict

if TYPE_CHECKING:
    from rnpc.cli.plan_files import ModelFile
    from rnpc.data.infer import Flags
    from rnpc.passes.rewrite.verify import Verified
    from rnpc.plan import Mode
    from rnpc.runtime import Device

BOUNDS = {"float16": 5e-2, "bfloat16": 2e-1}
"""Largest distance from the zeroed graph by the type of the scores; 1e-3 for all others."""


@dataclass(frozen=True)
class Row:
    """One graph: its distance from the zeroed one, and the shares of images with the same answer and with the right one.

    All None, with the reason in `why`, where the graph cannot be made; `accuracy` is None without labels.
    """

    graph: str
    distance: float | None
    same: float | None
    accuracy: float | None
    why: str | None = None


@dataclass(frozen=True)
class Outputs:
    """All rows, and the graphs that lie farther from the zeroed one than the bound allows."""

    rows: tuple[Row, ...]
    images: int
    bound: float
    provider: str

    @property
    def differences(self) -> tuple[Row, ...]:
        """Rows beyond the bound; the original is meant to differ."""
        return tuple(r for r in self.rows if r.graph != "original" and r.distance is not None and r.distance > self.bound)

    def json(self) -> dict[str, Any]:
        """For the document."""
        rows = {row.graph: {k: v for k, v in vars(row).items() if k != "graph"} for row in self.rows}
        return {"images": self.images, "provider": self.provider, "bound": self.bound, "graphs": rows}

    def lines(self) -> list[str]:
        """For the text."""
        found = [f"on {self.images} images ({self.provider}), distance from the zeroed graph, at most {self.bound:g} allowed:"]
        for row in self.rows:
            if row.distance is None:
                found.append(f"{row.graph:9} {row.why}")
                continue
            right = "" if row.accuracy is None else f", accuracy {row.accuracy:.2%}"
            beyond = "  BEYOND THE BOUND" if row in self.differences else ""
            found.append(f"{row.graph:9} {row.distance:.2g}, {row.same:.2%} same answers{right}{beyond}")
        return found


def side_by_side(
    path: Path, source: ModelFile, hardened: bytes, found: Verified, data: Path, flags: Flags, device: Device, threads: int
) -> Outputs:
    """Run the graphs on the images of `data`, preprocessed as the original wants them. Raises InputRefused."""
    given = settled.resolve(path, data, flags, device, threads=threads)
    graphs: dict[str, bytes | str] = {"zeroed": form(source, found, "zero"), "removed": form(source, found, "remove"), "hardened": hardened}
    scores: dict[str, np.ndarray | str] = {"original": given.logits}
    for name, graph in graphs.items():
        if isinstance(graph, str):
            scores[name] = graph
            continue
        session = Session(graph, device=device, threads=threads, where=name, scores=given.program.signature.output)
        scores[name] = predict(session, given.images, given.pre)
    zeroed = scores["zeroed"] if isinstance(scores["zeroed"], np.ndarray) else given.logits
    rows = tuple(row(name, zeroed, value, given.images.labels) for name, value in scores.items())
    return Outputs(rows, len(given.images), BOUNDS.get(given.program.signature.dtype, 1e-3), given.provider)


def form(source: ModelFile, found: Verified, mode: Mode) -> bytes | str:
    """The graph that the plan makes of the original in one mode, or why there is none."""
    if found.plan is None:
        return "no plan"
    try:
        return apply(source.data, found.plan, found.weights, mode).data
    except InputRefused as error:
        return error.what


def row(name: str, zeroed: np.ndarray, scores: np.ndarray | str, labels: np.ndarray | None) -> Row:
    """One graph against the zeroed one."""
    if isinstance(scores, str):
        return Row(name, None, None, None, scores)
    answers = scores.argmax(1)
    right = None if labels is None else round(float(np.mean(answers == labels)), 6)
    return Row(name, float(f"{parity(zeroed, scores):.3g}"), round(float(np.mean(answers == zeroed.argmax(1))), 6), right)
