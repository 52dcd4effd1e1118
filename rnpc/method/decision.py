"""What a method hands back: the finding, the channels to silence, the whole ranking, and everything the report shows.

Triggers here are the method's own inversions. Nothing in a decision was measured with an attacker's trigger or with test labels.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np

from rnpc.method.cut import Judged
from rnpc.method.rank import Channel
from rnpc.method.rnp import Point
from rnpc.method.trigger import Inverted
from rnpc.program import Finding, Masks

Tell = Callable[[str, float | None, float | None], None]
"""Progress: (stage, share done or None, accuracy or None)."""


@dataclass(frozen=True)
class Evidence:
    """Numbers behind a decision.

    `norms` [K] and `z` [K] of the latent shifts; `votes` [K] of the unlearned model; `triggers` with their costs; `held_out`: the success
    of each on judged images; `scores`: site -> suspicion [C]; `levels`: form -> success of a trigger that counts as natural.
    """

    norms: np.ndarray
    z: np.ndarray
    votes: np.ndarray
    course: tuple[Point, ...] = ()
    masks: Masks = field(default_factory=dict)
    triggers: tuple[Inverted, ...] = ()
    held_out: tuple[float, ...] = ()
    scores: Masks = field(default_factory=dict)
    cuts: tuple[Judged, ...] = ()
    levels: Mapping[str, float] = field(default_factory=dict)
    chosen: int | None = None
    numbers: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Decision:
    """`cut`: the channels to silence, empty where there is nothing to cut or no cut fits the budget. `ranking`: all channels in the
    order in which they would fall. `judged`: rows of the defense data on which the cut was judged."""

    finding: Finding
    cut: tuple[Channel, ...]
    ranking: tuple[Channel, ...]
    judged: np.ndarray
    evidence: Evidence
    threshold: float | None = None
