"""Every form can be edited in both modes: what is removed answers as what is zeroed, and `verify` accepts both."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from rnpc.passes.facts.sites import find_sites
from rnpc.passes.rewrite.apply import apply
from rnpc.passes.rewrite.verify import verify
from rnpc.passes.wire.external import inline
from rnpc.plan import Plan, Silence, SitePlan
from rnpc.runtime import Session
from rnpc.victims import forms

NAMES = [name for name, form in forms.FORMS.items() if form.rewrite is not None and form.runs]
GO = dict.fromkeys(NAMES, 71) | {"features": 68, "bf16-weights": 40, "int8-qdq": 40, "int8-qoperator": 0}
"""Fewest channels that go, of the 190 that are planned: a second output keeps some; in bfloat16 and on codes constants that are not zero
stay, and operators on codes keep all."""


def planned(source: bytes) -> Plan:
    """A third of the channels of every site, every other one to a constant that is not zero."""
    rng, entries = np.random.default_rng(0), []
    for site in find_sites(onnx.load_from_string(source)):
        drawn = sorted(int(c) for c in rng.choice(site.channels, site.channels // 3, replace=False))
        entries.append(SitePlan.of(site, {c: site.held(c, 0.25 * (k % 2)) for k, c in enumerate(drawn)}))
    return Plan("by hand", 0, hashlib.sha256(source).hexdigest(), "", Silence(tuple(entries)))


@pytest.mark.parametrize("name", NAMES)
def test_removed_answers_as_zeroed(name: str, demo: Any, load: Callable[[forms.Files], onnx.ModelProto], tmp_path: Path) -> None:
    form = forms.find(name)
    load(forms.files(demo.folded, name, demo.given))
    source, _ = inline((tmp_path / "model.onnx").read_bytes(), tmp_path, name)
    plan = planned(source)
    zeroed, removed = (apply(source, plan, mode=mode) for mode in ("zero", "remove"))
    feed = form.feed(demo.images, demo.given)
    before, one, two = (Session(data, device="cpu", threads=1).run(feed) for data in (source, zeroed.data, removed.data))
    assert np.abs(before - one).max() > form.bound
    assert np.abs(one - two).max() <= form.bound / 10
    gone = plan.channels - len(removed.kept)
    assert gone >= GO[name] and plan.channels == 190
    assert {verify(source, made.data, plan).result for made in (zeroed, removed)} == {"verified"}
