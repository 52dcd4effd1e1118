"""Plans go to JSON and back without loss, and constants keep their bits."""

from __future__ import annotations

import json
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rnpc.program import FilterSite, Plan, SitePlan, bits_float, float_bits

floats = st.floats(width=32, allow_nan=False)
sites = st.builds(
    lambda name, kind, values: SitePlan(name, kind, tuple(sorted(values)), tuple(float_bits(values[c]) for c in sorted(values))),
    st.text(min_size=1),
    st.sampled_from(["conv", "bn", "linear"]),
    st.dictionaries(st.integers(0, 4000), floats, max_size=5),
)
plans = st.builds(
    Plan,
    st.lists(sites, max_size=4).map(tuple),
    st.text(),
    st.integers(0, 2**63),
    st.text(),
    st.text(),
    st.none() | st.floats(0, 1),
)


@given(floats)
def test_bits_are_exact(value: float) -> None:
    assert float_bits(value) == struct.pack(">f", value).hex()
    assert struct.pack(">f", bits_float(float_bits(value))) == struct.pack(">f", value)


def test_signed_zeros_differ() -> None:
    assert (float_bits(0.0), float_bits(-0.0), float_bits(1.0)) == ("00000000", "80000000", "3f800000")


@given(plans)
def test_json_round_trip(plan: Plan) -> None:
    text = plan.to_json()
    assert Plan.from_json(text) == plan and Plan.from_json(text).to_json() == text
    assert "\n" not in text and json.loads(text)["rewrite"] == "rnpc.zero/1"


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"sites": [{}]}', '{"sites": [], "method": "m", "more": 1}'])
def test_other_shapes_raise(text: str) -> None:
    with pytest.raises((ValueError, KeyError, TypeError, AttributeError)):
        Plan.from_json(text)


def test_site_plan_is_ordered() -> None:
    site = FilterSite("v", 0, "Conv", "conv", 1, 8, "w", 0, "b")
    entry = SitePlan.of(site, {5: 0.25, 1: -1.0})
    assert entry.channels == (1, 5) and entry.constants() == {1: -1.0, 5: 0.25}
    assert Plan((entry, entry), "m", 0, "", "").channels == 4
