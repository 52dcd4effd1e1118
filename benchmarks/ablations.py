"""`rnpc harden` with one witness or one step of the removal left out; `strangers.py --without NAME` runs it.

    python benchmarks/ablations.py NAME harden MODEL --defense-data DIR ...

A witness that is left out sees nothing. Everything else is as it stands.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Sequence
from typing import Any
from unittest.mock import patch

import torch

from rnpc.cli import main as rnpc
from rnpc.defenses.auto import battery, candidates, cut, repair
from rnpc.detectors import witnesses
from rnpc.detectors.base import Accused, Detection
from rnpc.study import distil
from rnpc.study.case import Case
from rnpc.study.inversion import Inverted
from rnpc.study.surgery import Channel


def main() -> None:
    """Leave out, then go on as the command line says."""
    if len(sys.argv) < 3 or sys.argv[1] not in PARTS:
        sys.exit(f"usage: ablations.py {{{','.join(PARTS)}}} harden MODEL ...")
    PARTS[sys.argv[1]]()
    rnpc(sys.argv[2:])


def blind(witness: str) -> Callable[[], None]:
    """That witness of `witnesses` sees nothing."""

    def seen(_: object, case: Case) -> Detection:
        numbers = {"success": 0.0, "success_second": 0.0} if witness != "MmBd" else {}
        return Detection("clean", (Accused(0, 0.0),), (f"{witness} left out",), numbers=numbers)

    return put(getattr(witnesses, witness), "detect", seen)


def put(place: Any, name: str, value: Any) -> Callable[[], None]:
    """Something else in its place; an AttributeError where the place has no such name any more, a TypeError where it is called in another
    way."""

    def act() -> None:
        genuine = getattr(place, name)
        if callable(genuine) and callable(value):
            asked = inspect.signature(genuine).parameters.values()
            named = {each.name: None for each in asked if each.kind is each.KEYWORD_ONLY}
            inspect.signature(value).bind(*(None for each in asked if each.kind is not each.KEYWORD_ONLY), **named)
        patch.object(place, name, value).start()

    return act


def ends(ways: candidates.Ways) -> list[tuple[Channel, ...]]:
    """Repairs start from the whole cut only."""
    return [ways.search.made[-1 if ways.search.chosen is None else ways.search.chosen]]


def means(case: Case, channels: Sequence[Channel], deviations: object, triggers: Sequence[Inverted], **_: Any) -> list[Channel]:
    """Constants stay the clean means."""
    return list(channels)


def alone(changed: Any, generator: torch.Generator) -> Any:
    """No image is changed."""
    return changed


PARTS: dict[str, Callable[[], None]] = {
    "families": blind("Families"),
    "strained": blind("Strained"),
    "mm-bd": blind("MmBd"),
    "generators": blind("Generators"),
    "cut-as-witness": put(cut, "confirms", lambda search: False),
    "guard": put(cut, "spared", lambda subject, order, taken, data: iter(order)),
    "constants": put(cut, "settle", means),
    "probes": put(battery, "working", lambda case, suspect, members: []),
    "louder": put(battery, "LOUDER", ()),
    "half-start": put(candidates.Ways, "starts", ends),
    "line": put(candidates, "ALONG", ()),
    "second-course": put(repair, "COURSES", repair.COURSES[:1]),
    "mixtures": put(distil, "mixtures", alone),
    "turning": put(distil, "turned", alone),
    "adam": put(candidates, "ROUGH", float("inf")),
    "lasting": put(candidates, "lasting", lambda case, task, end: None),
}
"""What can be left out; repairs as a whole by `--options=--no-repair`."""


if __name__ == "__main__":
    main()
