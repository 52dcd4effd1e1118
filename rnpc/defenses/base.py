"""What every defense is: a frozen dataclass of its published settings that looks at a case and says what is to be done.

Outcomes are of three kinds: `Silence` (channels become constants), `Weights` (tensors of the user's graph are replaced), `Nothing`. In
every order high means suspicious, and the most suspicious channel falls first.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

import numpy as np

from rnpc.detectors.base import Detection
from rnpc.panel import Panel
from rnpc.study.case import Case, Shares
from rnpc.study.inversion import Inverted
from rnpc.study.surgery import Channel


@dataclass(frozen=True)
class Relapse:
    """How easily it comes back: the largest `share` of images that a known trigger moves once the written file was trained on, its
    one-sided upper 95 % `bound`, and which trigger that is (`by`)."""

    share: float
    bound: float
    by: str


@dataclass(frozen=True)
class Left:
    """What the judge says of the trigger after the cut: success of the strongest one `before` and after (`success`), the `natural` level
    that another label's reaches, and whether it can be told at all. `narrow`: the class of images that some trigger still moves most, and
    the share of it; None where no class has images enough. `relapse`: None where that was not, or could not be, tried."""

    success: float | None = None
    before: float | None = None
    natural: float | None = None
    told: bool = False
    narrow: tuple[int, float] | None = None
    relapse: Relapse | None = None


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What all outcomes have. `ranking`: all channels in the order in which they would fall; `confirmed`: whether what was taken away
    speaks for a backdoor, where the detection left a doubt; `triggers`: the label's, inverted in the original."""

    ranking: tuple[Channel, ...] = ()
    reasons: tuple[str, ...] = ()
    numbers: Mapping[str, float] = field(default_factory=dict)
    panels: tuple[Panel, ...] = ()
    left: Left = Left()
    confirmed: bool | None = None
    label: int | None = None
    triggers: tuple[Inverted, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Silence(Outcome):
    """`channels` become constants, in the order in which they fall; `threshold`: score of the last."""

    channels: tuple[Channel, ...]
    threshold: float | None = None


@dataclass(frozen=True, kw_only=True)
class Weights(Silence):
    """`tensors` of the user's graph get new values (name -> array of the same type and shape), and `channels`, where there are any, become
    constants."""

    tensors: Mapping[str, np.ndarray]


@dataclass(frozen=True, kw_only=True)
class Nothing(Outcome):
    """Nothing is to be done, and why."""

    why: str


@dataclass(frozen=True)
class Defense(ABC):
    """Base of all defenses. `needs`: clean data or a training set; `detectors`: those that it
    can follow, where not any; `detector`: the name of the one whose verdict it follows, None for
    one that acts whatever the verdict (which is null then); `shares`: how it wants the clean images drawn; `lenient`: whether it may go
    beyond the usual accuracy budget on a weak model (`stats.allowance`)."""

    name: ClassVar[str] = ""
    needs: ClassVar[Literal["clean data", "training set"]] = "clean data"
    detector: ClassVar[str | None] = None
    detectors: ClassVar[tuple[str, ...]] = ()
    shares: ClassVar[Shares] = Shares()
    lenient: ClassVar[bool] = False

    @abstractmethod
    def defend(self, case: Case, detection: Detection | None) -> Outcome:
        """What is to be done. `detection` is that of `detector`, None without one."""

    def settings(self) -> dict[str, Any]:
        """All settings as plain values."""
        return dict(vars(self))
