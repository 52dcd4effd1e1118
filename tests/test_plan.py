"""Plans go to JSON and back without loss, and constants keep their bits."""

from __future__ import annotations

import json
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rnpc.errors import InputRefused
from rnpc.plan import REWRITE, Plan, Retrained, Silence, SitePlan, Weights, bits_float, float_bits
from rnpc.program import FilterSite

floats = st.floats(width=32, allow_nan=False)
sites = st.builds(
    lambda name, kind, values: SitePlan(name, kind, tuple(sorted(values)), tuple(float_bits(values[c]) for c in sorted(values))),
    st.text(min_size=1),
    st.sampled_from(["conv", "bn", "linear"]),
    st.dictionaries(st.integers(0, 4000), floats, max_size=5),
)
silences = st.builds(Silence, st.lists(sites, max_size=4).map(tuple), st.sampled_from(["zero", "remove"]))
retrained = st.builds(Weights, st.lists(st.builds(Retrained, st.text(), st.text(), st.text()), max_size=3).map(tuple))
settings = st.dictionaries(st.text(), st.none() | st.booleans() | st.integers(-9, 9) | st.text(), max_size=3)
plans = st.builds(
    Plan,
    st.text(),
    st.integers(0, 2**63),
    st.text(),
    st.text(),
    st.none() | silences,
    st.none() | retrained,
    st.none() | st.floats(0, 1),
    settings,
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
    assert "\n" not in text and json.loads(text)["rewrite"] == REWRITE


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"sites": [{}]}', '{"sites": [], "method": "m", "more": 1}'])
def test_other_shapes_are_refused(text: str) -> None:
    with pytest.raises(InputRefused):
        Plan.from_json(text)


@pytest.mark.parametrize("channel", ["1.5", "true", '"0"', "-1", "null"])
def test_a_channel_is_a_whole_number(channel: str) -> None:
    text = Plan("m", 0, "o", "d", Silence((SitePlan("v", "conv", (7,), ("00000000",)),))).to_json()
    with pytest.raises(InputRefused, match=r"silence.sites\[0\].channels is .*, not a whole number"):
        Plan.from_json(text.replace("[7]", f"[{channel}]"))


GOOD = Plan("m", 0, "o", "d", Silence((SitePlan("v", "conv", (7,), ("00000000",)),)), Weights((Retrained("t", "a", "b"),))).to_json()


@pytest.mark.parametrize(
    ("old", "new", "match"),
    [
        ('"seed":0', '"seed":0,"seed":1', "'seed' stands twice"),
        ('"seed":0', '"seed":-1', "seed is -1, not a whole number"),
        ('"threshold":null', '"threshold":NaN', "no JSON"),
        ('"threshold":null', '"threshold":1e999', "no JSON"),
        ('"threshold":null', '"threshold":' + "9" * 400, "threshold is 9+"),
        ('"settings":{}', '"settings":{"a":[1]}', "settings"),
        ('"settings":{}', '"settings":{"a":-1e999}', "no JSON"),
        ('"method":"m"', '"method":"\\ud800"', "no JSON"),
        ('"method":"m"', '"method":null', "method is None, not text"),
        ('"mode":"zero"', '"mode":"cut"', "silence.mode is 'cut', not zero or remove"),
        ('"kind":"conv"', '"kind":"pool"', r"silence.sites\[0\].kind"),
        ('"before":"a"', '"before":1', r"weights.tensors\[0\].before is 1, not text"),
        ('"values":["00000000"]', '"values":[0]', r"silence.sites\[0\].values is 0, not text"),
        ('"rewrite"', '"more":1,"rewrite"', "the plan has no field 'more'"),
    ],
)
def test_what_is_wrong_is_named(old: str, new: str, match: str) -> None:
    assert old in GOOD
    with pytest.raises(InputRefused, match=match) as error:
        Plan.from_json(GOOD.replace(old, new), where="p.json")
    assert str(error.value).startswith("p.json: ") and "\n" not in str(error.value)


def test_nesting_without_end_is_refused() -> None:
    with pytest.raises(InputRefused, match="no JSON"):
        Plan.from_json("[" * 100_000)


def test_site_plan_is_ordered() -> None:
    site = FilterSite("v", 0, "Conv", "conv", 1, 8, "w", 0, "b")
    entry = SitePlan.of(site, {5: 0.25, 1: -1.0})
    assert entry.channels == (1, 5) and entry.constants() == {1: -1.0, 5: 0.25}
    assert Plan("m", 0, "", "", Silence((entry, entry))).channels == 4
