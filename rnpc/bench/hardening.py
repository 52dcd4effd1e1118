"""What the bench needs of a defense, and `rnpc harden` as one: a function from a model file and clean images to a `Hardened`.

Another defense is another function of the same signature, named as `module:function`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
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


@dataclass(frozen=True)
class Task:
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
    would be cut, as (site, channel, the constant that it becomes); `labels` the accused ones, (index, share), the first most; or `NEXT`."""

    verdict: str | None
    labels: tuple[tuple[int, float], ...]
    channels: int
    of: int | None
    threshold: float | None
    written: bytes | None
    ranking: tuple[tuple[str, int, float], ...]
    facts: dict[str, Any]


Harden = Callable[[Task], Hardened]


def resolve(name: str) -> Harden:
    """The function of that name."""
    module, _, function = name.partition(":")
    found: Harden = getattr(import_module(module), function)
    return found


def harden(task: Task) -> Hardened:
    """`rnpc harden` with default options. A refusal for too little data or evidence is a verdict; every other error is raised."""
    from rnpc import api

    out = task.scratch / "hardened.onnx"
    settings = api.Settings(method=task.method, seed=task.seed, device=task.device, threads=task.threads, force=task.force)
    try:
        result = api.harden_file(task.model, task.images, out, settings, progress=lambda stage, share, accuracy: task.tell(stage))
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
        ranking=tuple((channel.site, channel.index, channel.value) for channel in result.decision.ranking),
        facts=plain({key: document.get(key) for key in ("accuracy", "evidence", "reasons", "notes", "warnings", "twin_difference")}),
    )


def plain(value: Any) -> Any:
    """JSON values with None for what is no finite number."""
    if isinstance(value, dict):
        return {key: plain(entry) for key, entry in value.items()}
    if isinstance(value, list):
        return [plain(entry) for entry in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
