"""What the bench needs of a defense, and `rnpc harden` as one: a function from a model file and clean images to a `Hardened`.

Another defense is another function of the same signature, named as `module:function`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rnpc.data.images import ImageSet
from rnpc.errors import Inconclusive

if TYPE_CHECKING:
    from rnpc.runtime import Device

DEFAULT = "rnpc.bench.hardening:harden"
NEXT = -1
"""Stands for the label after an image's own where an index is wanted."""
FACTS = ("accuracy", "evidence", "reasons", "why", "notes", "warnings", "twin_difference", "retrained")
"""Fields of the document that a result keeps as they are."""


@dataclass(frozen=True)
class Request:
    """A model file, clean images, a folder for scratch files, and the settings. `force` asks for a cut whatever the verdict;
    `tell` takes a text about where hardening is."""

    model: Path
    images: ImageSet
    scratch: Path
    method: str
    seed: int
    device: Device
    threads: int
    force: bool = False
    tell: Callable[[str], None] = lambda text: None


@dataclass(frozen=True)
class Hardened:
    """What a user got. `written` are the bytes of the output, or None where nothing was written; `ranking` is the order in which channels
    would be cut, as (site, channel, the constant that it becomes); `labels` the accused ones, (index, share), the first most; or `NEXT`.

    `left`: what the document says of the trigger after the cut: `success`, the largest success rate that a judge still found (None where
    it looked at nothing), and `told`, whether it can say so. `seconds` by stage.
    """

    verdict: str | None
    labels: tuple[tuple[int, float], ...]
    channels: int
    of: int | None
    threshold: float | None
    written: bytes | None
    ranking: tuple[tuple[str, int, float], ...]
    facts: dict[str, Any]
    left: dict[str, Any] | None = None
    seconds: dict[str, float] = field(default_factory=dict)


Harden = Callable[[Request], Hardened]


def resolve(name: str) -> Harden:
    """The function of that name."""
    module, _, function = name.partition(":")
    harden: Harden = getattr(import_module(module), function)
    return harden


def harden(request: Request) -> Hardened:
    """`rnpc harden` with default options. A refusal for too little data or evidence is a verdict; every other error is raised."""
    from rnpc import api

    out = request.scratch / "hardened.onnx"
    settings = api.Settings(method=request.method, seed=request.seed, device=request.device, threads=request.threads, force=request.force)
    try:
        result = api.harden_file(request.model, request.images, out, settings, progress=lambda stage, *rest: request.tell(stage.value))
    except Inconclusive as error:
        return Hardened("inconclusive", (), 0, None, None, None, (), {"reasons": [str(error)]})
    document = result.document
    return Hardened(
        verdict=document["verdict"],
        labels=tuple((NEXT if each["index"] is None else int(each["index"]), each["share"] or 0.0) for each in document["target_labels"]),
        channels=int(document["pruned"]["channels"]),
        of=int(document["pruned"]["of"]),
        threshold=document["threshold"],
        written=out.read_bytes() if out.is_file() else None,
        ranking=tuple((channel.site, channel.index, channel.value) for channel in result.ranking),
        facts=plain({key: document.get(key) for key in FACTS}),
        left=plain(document.get("left")),
        seconds={stage: round(seconds, 2) for stage, seconds in result.timings.items()},
    )


def plain(value: Any) -> Any:
    """JSON values with None for what is no finite number."""
    if isinstance(value, dict):
        return {key: plain(entry) for key, entry in value.items()}
    if isinstance(value, list):
        return [plain(entry) for entry in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
