"""Evidence: what a run of `harden` saw on its way to the verdict, as plain arrays that the report draws.

Nothing here decides anything. Every part may be empty (a clean model has no cuts, `rnp-paper` inverts no trigger); the report then says
why a section is missing. Numbers that were not measured are None, never a made-up zero.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from rnpc.report.plain import plain_value


@dataclass(frozen=True)
class Step:
    """One point of the course of unlearning: accuracy in [0, 1], loss in nats, `votes` [K] the share of images that vote each label."""

    step: int
    accuracy: float
    loss: float
    votes: np.ndarray


@dataclass(frozen=True)
class Cut:
    """One cut along the ranking: how many channels, the score threshold, and what the judged images say.

    `low` and `high` bound the accuracy (two-sided 95 %); `drop_bound` is the one-sided 95 % bound of the paired accuracy drop;
    `success`: form -> share of judged images that the strongest trigger of that form flips which was inverted afresh after this cut.
    """

    channels: int
    threshold: float | None
    accuracy: float
    low: float
    high: float
    drop_bound: float
    success: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Trigger:
    """An inverted trigger: `success` on held-out images, `cost` (L2 norm for additive, pixels for patch and warp), an example.

    `image` and `delta` are float [C, H, W] in units of the image scaled to [0, 1]; `delta` is what the trigger adds and may be negative.
    `label` None: the label after the image's own. `held`: whether it reached nearly all images that it was learnt on.
    """

    label: int | None
    form: Literal["patch", "additive", "warp"]
    cost: float
    success: float
    image: np.ndarray
    delta: np.ndarray
    held: bool = True


@dataclass(frozen=True)
class ClassRow:
    """Evidence on one class: latent shift norm, its robust z over classes, the cost of an inverted trigger by form, vote share."""

    label: int
    name: str
    norm: float | None = None
    z: float | None = None
    additive: float | None = None
    patch: float | None = None
    warp: float | None = None
    vote: float | None = None


@dataclass(frozen=True)
class Evidence:
    """All that the report shows beside the document. `chosen` is an index into `cuts`, None where no cut was chosen; `levels`: form -> the
    success of a trigger that counts as natural."""

    course: tuple[Step, ...] = ()
    masks: Mapping[str, np.ndarray] = field(default_factory=dict)
    scores: Mapping[str, np.ndarray] = field(default_factory=dict)
    pruned: Mapping[str, list[int]] = field(default_factory=dict)
    cuts: tuple[Cut, ...] = ()
    chosen: int | None = None
    levels: Mapping[str, float] = field(default_factory=dict)
    triggers: tuple[Trigger, ...] = ()
    classes: tuple[ClassRow, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values: numbers to seven significant digits, nan and infinity as null, pictures as base64 of little-endian float32."""
        plain: dict[str, Any] = plain_value(self)
        return plain
