"""Settings of a run, checked before anything is loaded."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from rnpc.defenses import DEFAULT, DEFENSES
from rnpc.defenses.base import Defense
from rnpc.detectors import DETECTORS
from rnpc.detectors.base import Detector
from rnpc.errors import UsageError
from rnpc.plan import Mode
from rnpc.program import SEEDS
from rnpc.runtime import THREADS, Device
from rnpc.stats import allowance

USUAL = 0.02
"""Accuracy that may be lost where nobody says how much."""


@dataclass(frozen=True)
class Settings:
    """How to harden. `max_ca_drop`: largest accuracy drop, as a share; where it is not given `auto` may allow up to twice the usual one
    (`stats.allowance`); `force`: act whatever the verdict, which is then null; `options`: settings of the method by name, the published
    ones where they are not given; `detector`: another than the method's own;
    `optimize`: where a second file, cleaned up for deployment, is to go (`pipeline.optimise`)."""

    method: str = DEFAULT
    max_ca_drop: float | None = None
    seed: int = 0
    device: Device = "auto"
    threads: int = THREADS
    force: bool = False
    mode: Mode = "zero"
    detector: str | None = None
    optimize: Path | None = None
    options: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not 0 < self.max_drop < 1:
            raise UsageError(f"{self.max_ca_drop} is no share", where="--max-ca-drop", todo="choose a number between 0 and 1")
        if self.seed not in SEEDS:
            raise UsageError(f"{self.seed} is no seed", where="--seed", todo=f"choose 0 to {SEEDS[-1]}")
        self.defense()
        self.witness()

    @property
    def max_drop(self) -> float:
        """The budget of clean accuracy: the one given, or the usual one."""
        return USUAL if self.max_ca_drop is None else self.max_ca_drop

    @property
    def strict(self) -> bool:
        """Whether the budget stands: the user set it, or the method never goes beyond it."""
        return self.max_ca_drop is not None or not DEFENSES.kind(self.method).lenient

    def allowed(self, before: np.ndarray) -> float:
        """Accuracy drop that a run may come to on images that the original answers so, 0/1 [n]."""
        return self.max_drop if self.strict else allowance(before, self.max_drop)

    def defense(self) -> Defense:
        """The method. Raises UsageError for an unknown one, or a setting that it cannot have."""
        return DEFENSES.create(self.method, self.options)

    def witness(self) -> Detector | None:
        """The detector whose verdict counts, None where the method acts without one. It takes over the method's settings that it has too.

        Raises UsageError for an unknown one, and for one that finds nothing that the method could work with."""
        kind = DEFENSES.kind(self.method)
        name = self.detector or kind.detector
        if name is None:
            return None
        DETECTORS.kind(name)
        if kind.detectors and name not in kind.detectors:
            todo = f"choose one of {', '.join(kind.detectors)}, or another method"
            raise UsageError(f"method {self.method} cannot follow this detector", where=f"--detector {name}", todo=todo)
        return DETECTORS.create(name, {f.name: self.options[f.name] for f in DETECTORS.fields(name) if f.name in self.options})
