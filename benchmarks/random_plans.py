"""Random plans, and what they do to a file: zeroed and removed, side by side in onnxruntime. For the scripts beside this one."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import onnx

from rnpc.errors import RnpcError
from rnpc.passes.facts.sites import find_sites
from rnpc.passes.rewrite.apply import apply
from rnpc.plan import Plan, Silence, SitePlan
from rnpc.program import FilterSite
from rnpc.runtime import Session

Chosen = Callable[[FilterSite], bool]


@dataclass(frozen=True)
class Outcome:
    """A planned file in both modes.

    `difference`: largest between their scores, in units of the zeroed file's scale; `moved`: how far zeroing went from the original, in the
    same unit. `refused` says why there is no removed file.
    """

    sites: int
    channels: int
    planned: int
    zeroed: bytes
    removed: bytes | None
    moved: float
    difference: float
    refused: str = ""


def plan(data: bytes, seed: int, share: float = 0.3, *, constants: bool = True, chosen: Chosen = lambda _: True) -> Plan:
    """A plan of mode `zero` for the chosen sites: in each a share of the channels drawn around `share`, never all of them.

    With `constants`, half of the channels become a number drawn at random, as a kept BatchNorm bias would be; the rest becomes zero.
    """
    rng, sites = np.random.default_rng(seed), list[SitePlan]()
    for site in filter(chosen, find_sites(onnx.load_from_string(data))):
        count = min(round(site.channels * share), site.channels - 1)
        channels = rng.choice(site.channels, count, replace=False)
        values = rng.normal(0, 0.5, count) * (rng.random(count) < 0.5) * constants
        if count:
            sites.append(SitePlan.of(site, {int(c): float(v) for c, v in zip(channels, values, strict=True)}))
    return Plan("random", seed, hashlib.sha256(data).hexdigest(), "", Silence(tuple(sites), "zero"))


def both(data: bytes, made: Plan, images: np.ndarray) -> Outcome:
    """Apply a plan in both modes and compare on `images`, the model's input. Raises where zeroing fails."""
    zeroed = apply(data, made, mode="zero").data
    before, after = scores(data, images), scores(zeroed, images)
    scale = max(float(np.abs(after).max()), 1e-30)
    sites = find_sites(onnx.load_from_string(data))
    found = Outcome(
        len(sites), sum(s.channels for s in sites), made.channels, zeroed, None, float(np.abs(after - before).max()) / scale, np.nan
    )
    try:
        removed = apply(data, made, mode="remove").data
        if valid(data):
            onnx.checker.check_model(onnx.load_from_string(removed), full_check=True)
        other = scores(removed, images)
    except (RnpcError, onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        return replace(found, refused=str(error).splitlines()[0])
    return replace(found, removed=removed, difference=float(np.abs(other - after).max()) / scale)


def valid(data: bytes) -> bool:
    """Whether onnx.checker accepts the original, which onnxruntime may run all the same."""
    try:
        onnx.checker.check_model(onnx.load_from_string(data), full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError):
        return False
    return True


def scores(data: bytes, images: np.ndarray) -> np.ndarray:
    """First output of the model."""
    return Session(data, device="cpu", threads=1).run(images)
