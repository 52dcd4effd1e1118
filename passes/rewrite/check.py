"""Whether a plan fits a model: made by known rules, for these very bytes, and for channels that are there."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence

from rnpc.errors import InputRefused
from rnpc.plan import REWRITE, Plan, Silence, SitePlan
from rnpc.program import FilterSite

TODO = "make the plan again with rnpc harden, or look the sites up with rnpc inspect"


def check_plan(source: bytes, sites: Sequence[FilterSite], plan: Plan) -> None:
    """Raise InputRefused unless the plan was made for these bytes and names existing channels, once each, never all of a site."""
    check_rewrite(plan)
    check_original(source, plan)
    if plan.silence is not None:
        check_silence(sites, plan.silence)


def check_rewrite(plan: Plan) -> None:
    """Raise InputRefused for rules that this version does not know."""
    if plan.rewrite != REWRITE:
        raise refuse(f"rewrite version {plan.rewrite!r} is unknown, this is {REWRITE}", "use the rnpc version that made the plan")


def check_original(source: bytes, plan: Plan) -> None:
    """Raise InputRefused unless `source` is the file that the plan was made for."""
    found = hashlib.sha256(source).hexdigest()
    if plan.original != found:
        raise refuse(f"the plan was made for {plan.original[:12]}, the model is {found[:12]}", "apply it to the original model")


def check_silence(sites: Sequence[FilterSite], silence: Silence) -> None:
    """Raise InputRefused unless every channel exists, stands once, and leaves its site at least one other."""
    known = {site.value: site for site in sites}
    names = [entry.site for entry in silence.sites]
    if len(set(names)) < len(names):
        raise refuse("a site is listed twice", TODO)
    for entry in silence.sites:
        check_site(known.get(entry.site), entry)


def check_site(site: FilterSite | None, entry: SitePlan) -> None:
    """Raise InputRefused unless the entry's channels fit the site."""
    if site is None or site.kind != entry.kind:
        raise refuse(f"the model has no {entry.kind} site {entry.site}", TODO)
    if len(entry.channels) != len(entry.values) or len(set(entry.channels)) < len(entry.channels):
        raise refuse(f"channels of site {entry.site} are repeated or lack a value", TODO)
    if any(not 0 <= c < site.channels for c in entry.channels):
        raise refuse(f"site {entry.site} has {site.channels} channels, the plan names {max(entry.channels)}", TODO)
    if len(entry.channels) == site.channels:
        raise refuse(f"all {site.channels} channels of site {entry.site} would be pruned", "leave at least one")
    try:
        finite = all(len(v) == 8 and math.isfinite(c) for v, c in zip(entry.values, entry.constants().values(), strict=True))
    except ValueError:
        finite = False
    if not finite:
        raise refuse(f"a constant of site {entry.site} is no finite float32", TODO)


def refuse(what: str, todo: str, where: str = "plan") -> InputRefused:
    """The error of the rewriting passes."""
    return InputRefused(what, where=where, todo=todo)
