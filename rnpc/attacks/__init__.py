"""Backdoor attacks for training victims: one file each, one signature (`rnpc.attacks.base.Attack`), found by name here.

A new attack is one file and one line in `ATTACKS`. The method may not import this package: no decision of rnpc ever sees a trigger.
"""

from __future__ import annotations

import sys
from dataclasses import fields, replace
from typing import Any

from rnpc.attacks.ablend import AdaptiveBlend
from rnpc.attacks.adaptd import AdaptD
from rnpc.attacks.advt import AdvT
from rnpc.attacks.awp import Awp
from rnpc.attacks.badnets import BadNets
from rnpc.attacks.base import Attack, Poisoned, Target
from rnpc.attacks.blend import Blend
from rnpc.attacks.cl import LabelConsistent
from rnpc.attacks.clean import Clean
from rnpc.attacks.dfst import Dfst
from rnpc.attacks.dynamic import Dynamic
from rnpc.attacks.fc import FeatureCollision
from rnpc.attacks.lira import Lira
from rnpc.attacks.loop import Loop, Means
from rnpc.attacks.sig import Sig
from rnpc.attacks.trojan import Trojan
from rnpc.attacks.wanet import WaNet
from rnpc.errors import UsageError
from rnpc.program import SEEDS

INPUT: tuple[type[Attack], ...] = (Clean, BadNets, Blend, Sig, WaNet, Trojan, LabelConsistent, Dynamic)
FEATURE: tuple[type[Attack], ...] = (FeatureCollision, Dfst, Awp, Lira, AdaptiveBlend, AdaptD, AdvT)
ATTACKS: dict[str, type[Attack]] = {kind.name: kind for kind in (*INPUT, *FEATURE)}

__all__ = ["ATTACKS", "Attack", "Loop", "Means", "Poisoned", "Target", "create", "names", "parse"]


def names() -> tuple[str, ...]:
    """The names that `create` knows."""
    return tuple(ATTACKS)


def create(name: str, /, **settings: Any) -> Attack:
    """The attack of that name; settings that are not given keep their published values.

    Raises UsageError for an unknown name (with the list), an unknown setting (likewise), or a value that it cannot have.
    """
    if name not in ATTACKS:
        raise UsageError("no such attack", where=name, todo=f"choose one of {', '.join(names())}")
    kind = ATTACKS[name]
    known = {f.name: f for f in fields(kind)}
    for key, value in settings.items():
        if key not in known:
            raise UsageError(f"no setting named {key}", where=name, todo=f"choose among {', '.join(known)}")
        if not (key == "target" and value == "next") and not fits(value, known[key].default):
            raise UsageError(f"{key} cannot be {shown(value)}", where=name, todo=f"give a value like {known[key].default!r}")
    if "seed" in settings and settings["seed"] not in SEEDS:
        raise UsageError(f"seed cannot be {shown(settings['seed'])}", where=name, todo=f"choose 0 to {SEEDS[-1]}")
    typed: dict[str, Any] = {key: float(value) if isinstance(known[key].default, float) else value for key, value in settings.items()}
    return replace(kind(), **typed)


def fits(value: Any, default: Any) -> bool:
    """Whether a setting's value has the type of its default; an integer may stand for a float. Numbers are finite, as a float at least."""
    if isinstance(value, bool) or not isinstance(value, (int, float) if isinstance(default, float) else type(default)):
        return False
    return not isinstance(value, int | float) or abs(value) <= sys.float_info.max


def shown(value: Any) -> str:
    """A value as an error shows it: not hundreds of digits."""
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:37]}..."


def parse(name: str, pairs: tuple[str, ...]) -> dict[str, Any]:
    """Settings given as `key=value` texts; numbers become numbers. Raises UsageError for a text without `=`, and a key given twice."""
    settings: dict[str, Any] = {}
    for pair in pairs:
        key, equals, text = pair.partition("=")
        if not equals:
            raise UsageError(f"a setting looks like key=value, not {pair!r}", where=name)
        if key.strip() in settings:
            raise UsageError(f"{key.strip()} is set twice", where=name, todo="set it once")
        settings[key.strip()] = number(text.strip())
    return settings


def number(text: str) -> int | float | str:
    """The text as an integer, else as a float, else as it is."""
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text
