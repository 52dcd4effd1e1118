"""The oracle's choice: the best cut along the method's own ranking, chosen on test images with the trigger in hand.

It bounds what a better blind rule could get out of the same ranking, and is never a result of hardening. Cuts of a grid are written into
the file and measured in onnxruntime on a sample of the test split; the best one has the lowest ASR among those that lose at most two
points of CA, and is measured on the whole split then. Clean victims have no ASR, and so no oracle.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from rnpc import frontends
from rnpc.bench.measure import Answer, Attacked, document, measure, measured
from rnpc.passes.rewrite.apply import apply
from rnpc.plan import Plan, silence
from rnpc.program import Program
from rnpc.stats import rate

GRID = (0, 4, 8, 16, 32, 64, 128)
SAMPLE = 1000
MAX_DROP = 0.02
HOPELESS = 0.10
"""A cut that loses this much CA ends the sweep: longer cuts along one ranking do not come back."""


Ranking = Sequence[tuple[str, int, float]]
"""(site, channel, the constant that it becomes), the first to be cut first."""


def oracle(model: Path, ranking: Ranking, on: Attacked, cache: Path, own: dict[int, dict[str, Any]]) -> dict[str, Any] | None:
    """The sweep and the best point, or None for a clean victim or a method that ranks nothing.

    `own`: the method's cut along the ranking, as (channels, what the whole split says of it); it is one of the points."""
    if on.trigger is None or not ranking:
        return None
    program = frontends.load(model)
    order, rows = spared(program, ranking), sample(len(on.data.test_labels))
    points: list[tuple[int, Answer]] = []
    for count in [n for n in sorted({*GRID, *own}) if n <= len(order)]:
        points.append((count, measure(written(program, order[:count]), on, rows)))
        if ca(points[0][1]) - ca(points[-1][1]) > HOPELESS:
            break
    best = choose(points)
    return {
        "sample": {"images": len(rows), "max_drop": MAX_DROP, "cuts": [point(count, answer) for count, answer in points]},
        "channels": best,
        **(own[best] if best in own else measured(written(program, order[:best]), on, cache).document()),
    }


def spared(program: Program, ranking: Ranking) -> list[tuple[str, int, float]]:
    """The ranking without the channels that would be the last of their site: no layer is cut to nothing."""
    left, kept = {site.value: site.channels for site in program.sites}, []
    for entry in ranking:
        if left[entry[0]] > 1:
            left[entry[0]] -= 1
            kept.append(entry)
    return kept


def sample(images: int) -> np.ndarray:
    """At most SAMPLE test images, the same ones for every cell."""
    return np.sort(np.random.default_rng(0).permutation(images)[:SAMPLE])


def written(program: Program, ranking: Ranking) -> bytes:
    """The file with these channels cut."""
    values: dict[str, dict[int, float]] = {}
    for site, channel, value in ranking:
        values.setdefault(site, {})[channel] = value
    if not values:
        return program.source
    return apply(program.source, Plan("oracle", 0, program.sha256, "", silence(program.sites, values))).data


def choose(points: Sequence[tuple[int, Answer]]) -> int:
    """Lowest ASR within the budget, then highest CA, then fewest channels. The first point is the uncut model."""
    budget = ca(points[0][1]) - MAX_DROP
    return min((asr(answer), -ca(answer), count) for count, answer in points if ca(answer) >= budget)[2]


def ca(answer: Answer) -> float:
    """Clean accuracy."""
    return answer.ca[0] / answer.ca[1]


def asr(answer: Answer) -> float:
    """Attack success."""
    assert answer.asr is not None
    return answer.asr[0] / answer.asr[1]


def point(count: int, answer: Answer) -> dict[str, Any]:
    """One cut of the sweep."""
    assert answer.asr is not None
    return {"channels": count, "ca": document(rate(*answer.ca)), "asr": document(rate(*answer.asr))}
