"""Plans written by hand: sites and channel numbers are enough.

    {"sites": {"SITE": [3, 7]}}                    the channels become 0
    {"sites": {"SITE": {"3": 0.25, "7": 0}}}       ... the constants given
    {"sites": {...}, "mode": "remove"}             ... or leave the graph

`rnpc inspect` names the sites. Whatever ranked the channels, the plan is then as whole and as strict as one of rnpc's own: the digest of
the original is that of the model at hand, the method's name is "by hand".
"""

from __future__ import annotations

import difflib
import hashlib
from collections.abc import Sequence
from typing import Any, get_args

import numpy as np

from rnpc.errors import InputRefused
from rnpc.plan import Mode, Plan, Silence, SitePlan, parse
from rnpc.program import FilterSite

METHOD = "by hand"
LARGEST = float(np.finfo(np.float32).max)
TODO = 'write {"sites": {"SITE": [3, 7]}}, or {"sites": {"SITE": {"3": 0.25}}}; `rnpc inspect` names the sites'


def read_plan(text: str, source: bytes, sites: Sequence[FilterSite], where: str) -> Plan:
    """The plan in `text`, in full or by hand, for the model whose bytes are `source` and whose sites are `sites`.

    Raises InputRefused that names what is wrong; whether a full plan fits the model is for `apply` to say.
    """
    raw = parse(text, where)
    if isinstance(raw, dict) and not raw.keys() & {"sites", "rewrite"}:
        raise refuse("neither a plan that rnpc wrote nor one by hand, which has the field 'sites'", where)
    if not isinstance(raw, dict) or "sites" not in raw:
        return Plan.from_json(text, where)
    if unknown := sorted(raw.keys() - {"sites", "mode"}):
        raise refuse(f"a plan by hand has no field {unknown[0]!r}", where)
    mode = raw.get("mode", "zero")
    if mode not in get_args(Mode):
        raise refuse(f"mode is {mode!r}, not {' or '.join(get_args(Mode))}", where)
    if not isinstance(raw["sites"], dict):
        raise refuse(f"sites is {raw['sites']!r}, not an object", where)
    known = {site.value: site for site in sites}
    chosen = {name: channels(name, value, where) for name, value in raw["sites"].items()}
    for name in chosen:
        if name not in known:
            near = difflib.get_close_matches(name, known, 1)
            raise refuse(f"the model has no site {name}{f'; did you mean {near[0]}?' if near else ''}", where)
    entries = tuple(SitePlan.of(site, chosen[site.value]) for site in sites if chosen.get(site.value))
    return Plan(METHOD, 0, hashlib.sha256(source).hexdigest(), "", Silence(entries, mode))


def channels(site: str, raw: Any, where: str) -> dict[int, float]:
    """Channel -> constant of one site: from a list of channels, or an object of constants."""
    if isinstance(raw, list):
        if any(not isinstance(c, int) or isinstance(c, bool) or c < 0 for c in raw) or len(set(raw)) < len(raw):
            raise refuse(f"the channels of site {site} are not whole numbers from 0, once each", where)
        return dict.fromkeys(raw, 0.0)
    if not isinstance(raw, dict):
        raise refuse(f"the channels of site {site} are neither a list nor an object", where)
    found = {number(site, key, where): constant(site, value, where) for key, value in raw.items()}
    if len(found) < len(raw):
        raise refuse(f"a channel of site {site} stands twice", where)
    return found


def number(site: str, key: str, where: str) -> int:
    """A channel's number from a member's name."""
    if not (key.isascii() and key.isdigit() and len(key) < 10):
        raise refuse(f"{key!r} is no channel of site {site}", where)
    return int(key)


def constant(site: str, value: Any, where: str) -> float:
    """A finite float32."""
    if not isinstance(value, int | float) or isinstance(value, bool) or abs(value) > LARGEST:
        raise refuse(f"{value!r} is no constant that a channel of site {site} could become", where)
    return float(value)


def refuse(what: str, where: str) -> InputRefused:
    """The error of this file."""
    return InputRefused(what, where=where, todo=TODO)
