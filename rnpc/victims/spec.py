"""VictimSpec: everything that decides which victim comes out of a training, but for the thread count and the machine."""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import asdict, dataclass, fields
from typing import Any

from rnpc import attacks, models
from rnpc.attacks.base import Attack, Shape, Target
from rnpc.data import datasets
from rnpc.errors import UsageError
from rnpc.program import SEEDS

PROTOCOL = "rnpc.victim/2"
"""Changes whenever the same spec would train another victim, so that caches keyed by it are not used again."""

DESCENTS = ("finetuned", "pruned", "quantised")
LATER = {"schedule": "one-cycle", "descends": ""}
"""Fields that came after victims had been trained, with the value that those have."""


@dataclass(frozen=True)
class VictimSpec:
    """One victim. `target` and `rate` None keep the attack's own; `settings` are its other settings as sorted (name, value) pairs.

    `seed` draws the training subset, the poisoned images, the initial weights, the batches and whatever is random in the trigger (unless
    `settings` has a `seed` of its own). `fraction` is the share of each class of the training split that is used.
    `schedule` is `one-cycle` or the long `steps` of the publications. `descends` makes a descendant of the clean victim of the same fields:
    `finetuned`, `pruned` or `quantised` (see `rnpc.victims.descend`). Both are left out of the document where they have their default, so
    that keys from before they existed stand."""

    attack: str
    dataset: str = "gtsrb"
    arch: str = "resnet18"
    width: int = 16
    target: Target | None = None
    seed: int = 0
    rate: float | None = None
    fraction: float = 1.0
    epochs: int = 5
    batch: int = 128
    lr: float = 0.1
    settings: tuple[tuple[str, Any], ...] = ()
    schedule: str = "one-cycle"
    descends: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "settings", tuple(sorted((str(k), v) for k, v in self.settings)))
        for name, ok, todo in self._limits():
            if not ok:
                raise UsageError(f"{name} cannot be {getattr(self, name)!r}", where=self.attack, todo=todo)
        if self.dataset not in datasets.names():
            raise UsageError("no such data set", where=self.dataset, todo=f"choose one of {', '.join(datasets.names())}")
        if self.arch not in models.names():
            raise UsageError("no such architecture", where=self.arch, todo=f"choose one of {', '.join(models.names())}")
        if self.descends and self.attack != "none":
            raise UsageError("only clean victims have descendants", where=self.attack, todo="leave descends out, or set attack to none")
        for name in ("target", "rate"):
            if getattr(self, name) is not None and name in dict(self.settings):
                raise UsageError(f"{name} is given twice, as itself and as a setting", where=self.attack, todo="give it once")
        self.create()

    def _limits(self) -> list[tuple[str, bool, str]]:
        """(field, whether its value is possible, what is)."""
        return [
            ("width", 1 <= self.width <= 1024, "choose 1 to 1024"),
            ("fraction", 0 < self.fraction <= 1, "choose a share in (0, 1]"),
            ("epochs", self.epochs >= 1, "train for at least 1"),
            ("batch", self.batch >= 2, "choose at least 2"),
            ("lr", 0 < self.lr < math.inf, "choose a rate above 0"),
            ("schedule", self.schedule in ("one-cycle", "steps"), "choose one-cycle or steps"),
            ("descends", self.descends in ("", *DESCENTS), f"choose one of {', '.join(DESCENTS)}, or leave it out"),
            ("seed", self.seed in SEEDS, f"choose 0 to {SEEDS[-1]}"),
        ]

    def create(self) -> Attack:
        """The attack with its settings. Raises UsageError for an unknown attack or setting."""
        chosen: dict[str, Any] = {"seed": self.seed, **dict(self.settings)}
        if self.target is not None:
            chosen["target"] = self.target
        if self.rate is not None:
            chosen["rate"] = self.rate
        return attacks.create(self.attack, **chosen)

    def checked(self, classes: int, shape: Shape) -> Attack:
        """`create`, checked against a data set. Raises UsageError where target, rate or settings do not fit."""
        attack = self.create()
        attack.check(classes, shape)
        return attack

    def to_json(self) -> str:
        """Canonical JSON: sorted keys, no spaces, with the protocol's version."""
        return json.dumps(self.document(), sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)

    def document(self) -> dict[str, Any]:
        """The spec as plain JSON values."""
        found = {"protocol": PROTOCOL, **asdict(self), "settings": dict(self.settings)}
        return {key: value for key, value in found.items() if key not in LATER or value != LATER[key]}

    @staticmethod
    def from_document(raw: dict[str, Any]) -> VictimSpec:
        """Inverse of `document`; fields may be left out. Raises UsageError for a field that does not exist or has the wrong type."""
        kinds = {f.name: f.default for f in fields(VictimSpec)}
        given = {k: v for k, v in raw.items() if k != "protocol"}
        for key in given:
            if key not in kinds:
                raise UsageError(f"no field named {key}", where="victim", todo=f"choose among {', '.join(kinds)}")
        given["settings"] = tuple(sorted(dict(given.get("settings", {})).items()))
        if "attack" not in given:
            raise UsageError("the field attack is missing", where="victim", todo=f"choose one of {', '.join(attacks.names())}")
        try:
            return VictimSpec(**given)
        except TypeError as error:
            raise UsageError(f"a field has the wrong type ({error})", where="victim") from error

    @property
    def key(self) -> str:
        """sha256 of `to_json`."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()
