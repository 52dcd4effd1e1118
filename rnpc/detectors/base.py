"""What every detector is: a frozen dataclass of its published settings that looks at a case and says who is accused, and how sure it is.

A detector sees clean images and the model, nothing else. A measurement that failed acquits nobody: it is `inconclusive`, with the reason.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Literal

import numpy as np

from rnpc.panel import Panel
from rnpc.study.case import Case
from rnpc.study.inversion import Inverted

Verdict = Literal["backdoored", "clean", "inconclusive"]


@dataclass(frozen=True)
class Accused:
    """A suspect label (or `NEXT`). `score`: high is suspicious; `p_value`: under the detector's null, None where it has none; `share`:
    votes of the unlearned model, nan where nobody voted."""

    label: int
    score: float
    p_value: float | None = None
    share: float = float("nan")


@dataclass(frozen=True)
class Detection:
    """What a detector says.

    `suspects`: the most suspicious first, whatever the verdict; `reasons`: in words; `numbers`: evidence by name; `triggers` with the
    success of each on judged images (`reached`); `doubt`: the verdict is so close that what a cut takes away should have a say; `rival`:
    where plain patches accuse the first suspect, the most that any of them reaches for another label: the natural level of triggers that
    nobody fitted.
    """

    verdict: Verdict
    suspects: tuple[Accused, ...]
    reasons: tuple[str, ...] = ()
    numbers: Mapping[str, float] = field(default_factory=dict)
    triggers: tuple[Inverted, ...] = ()
    reached: tuple[float, ...] = ()
    panels: tuple[Panel, ...] = ()
    doubt: bool = False
    rival: float | None = None

    @property
    def accused(self) -> tuple[Accused, ...]:
        """The suspects, unless the verdict acquits."""
        return () if self.verdict == "clean" else self.suspects


@dataclass(frozen=True)
class Detector(ABC):
    """Base of all detectors."""

    name: ClassVar[str] = ""

    @abstractmethod
    def detect(self, case: Case) -> Detection:
        """Who is accused."""

    def reconsider(self, case: Case, detection: Detection, confirmed: bool) -> Detection:
        """The detection with the defense's testimony, where it asked for that (`doubt`): a cut that takes most of the trigger's strength
        away convicts, one that does not changes nothing."""
        return replace(detection, verdict="backdoored" if confirmed else detection.verdict)

    def settings(self) -> dict[str, Any]:
        """All settings as plain values."""
        return dict(vars(self))


@dataclass(frozen=True)
class Scorer(ABC):
    """Base of what scores single images."""

    name: ClassVar[str] = ""

    @abstractmethod
    def score(self, case: Case, images: np.ndarray) -> np.ndarray:
        """Suspicion float [n] of uint8 images [n, H, W, C]; high is suspicious."""
