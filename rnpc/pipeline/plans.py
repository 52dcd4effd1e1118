"""An outcome as a plan for the user's graph."""

from __future__ import annotations

from rnpc.defenses.base import Outcome, Silence, Weights
from rnpc.passes.rewrite.weights import declare
from rnpc.pipeline.settings import Settings
from rnpc.plan import Plan, silence
from rnpc.program import Program


def plan_of(program: Program, outcome: Outcome, settings: Settings, data: str) -> Plan | None:
    """The plan; None where nothing is to be done. `data`: digest of the list of defense images. Constants are those that were judged: what
    the file can hold."""
    if not isinstance(outcome, Silence):
        return None
    chosen: dict[str, dict[int, float]] = {}
    places = {site.value: site for site in program.sites}
    for channel in outcome.channels:
        chosen.setdefault(channel.site, {})[channel.index] = places[channel.site].held(channel.index, channel.value)
    return Plan(
        method=settings.method,
        seed=settings.seed,
        original=program.sha256,
        data=data,
        silence=silence(program.sites, chosen, settings.mode) if chosen else None,
        weights=declare(program.source, outcome.tensors) if isinstance(outcome, Weights) else None,
        threshold=None if outcome.threshold is None else round(outcome.threshold, 6),
        settings={"max_ca_drop": settings.max_ca_drop, **settings.defense().settings()},
    )
