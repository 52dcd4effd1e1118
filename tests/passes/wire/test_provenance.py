"""Provenance lies behind the last byte, reads back, shows tampering, and comes off again."""

from __future__ import annotations

from collections.abc import Callable

import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import ModelProto

from rnpc.errors import InputRefused
from rnpc.passes.wire import provenance
from rnpc.plan import Plan


def test_round_trip(net: ModelProto, plan_for: Callable[..., Plan]) -> None:
    net.metadata_props.add(key="names", value="a,b")
    data = net.SerializeToString()
    plan = plan_for(data, {"a": {1: 0.5}})
    declared = provenance.entries(plan)
    marked = provenance.append(data, declared)
    model = onnx.load_from_string(marked)
    assert marked.startswith(data) and provenance.strip(marked) == data
    assert provenance.read(model) == declared and provenance.intact(declared)
    assert set(declared) == {f"rnpc.{k}" for k in ("plan", "original", "data", "threshold", "seal")}
    assert Plan.from_json(declared["rnpc.plan"]) == plan and declared["rnpc.threshold"] == "null"
    assert model.metadata_props[0].key == "names"


@given(st.sampled_from(["rnpc.plan", "rnpc.original", "rnpc.data", "rnpc.threshold", "rnpc.seal"]), st.text())
def test_seal_shows_tampering(key: str, value: str) -> None:
    declared = provenance.entries(Plan("rnp", 0, "0", "1", threshold=0.5))
    assert provenance.intact({**declared, key: value}) == (declared[key] == value)
    assert not provenance.intact({k: v for k, v in declared.items() if k != key})


def test_seal_covers_entries_added_later() -> None:
    declared = provenance.entries(Plan("rnp", 0, "0", "1"))
    assert not provenance.intact({**declared, "rnpc.more": "x"}) and provenance.intact({**declared, "other": "x"})


def test_no_second_hardening(net: ModelProto) -> None:
    once = provenance.append(net.SerializeToString(), provenance.entries(Plan("rnp", 0, "0", "1")))
    with pytest.raises(InputRefused, match="already hardened"):
        provenance.append(once, {"rnpc.plan": "x"})


def test_strip_without_entries(net: ModelProto) -> None:
    assert provenance.strip(net.SerializeToString()) == net.SerializeToString() and provenance.read(net) == {}
