"""Stages of a run, as progress tells them: an enumeration, so that nobody matches strings."""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum


class Stage(Enum):
    """Where a run is. The value is what a person reads; the order is that of a run."""

    LOAD_MODEL = "load the model"
    LOAD_IMAGES = "load images"
    PROVE = "prove the twin"
    UNLEARN = "unlearn"
    RECOVER = "recover masks"
    LABELS = "look at every label"
    INVERT = "invert triggers"
    WITNESS = "second witness"
    STRONGEST = "invert strongest triggers"
    RANK = "rank channels"
    CUT = "cut channels"
    AGAIN = "invert again"
    REPAIR = "repair"
    JUDGE = "judge"
    WRITE = "write"
    MEASURE = "measure"


Tell = Callable[[Stage, float | None, float | None], None]
"""Progress: (stage, share of it that is done or None, accuracy on judged images or None)."""


def untold(stage: Stage, share: float | None = None, accuracy: float | None = None) -> None:
    """A Tell that nobody listens to."""
