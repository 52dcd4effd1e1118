"""Short plans are read strictly and become whole ones."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable

import pytest
from onnx import ModelProto

from rnpc.errors import InputRefused
from rnpc.passes.facts.sites import find_sites
from rnpc.passes.rewrite.by_hand import read_plan
from rnpc.plan import Plan, Silence


def read(net: ModelProto, text: str) -> Plan:
    return read_plan(text, net.SerializeToString(), find_sites(net), "p.json")


def test_lists_and_constants(net: ModelProto) -> None:
    plan = read(net, '{"sites": {"n": [4, 0], "a": {"3": 0.25, "1": -2}, "h": []}, "mode": "remove"}')
    assert plan.silence is not None and plan.silence.mode == "remove" and plan.method == "by hand"
    assert {s.site: s.constants() for s in plan.sites} == {"a": {1: -2.0, 3: 0.25}, "n": {0: 0.0, 4: 0.0}}
    assert [s.site for s in plan.sites] == ["a", "n"] and plan.original == hashlib.sha256(net.SerializeToString()).hexdigest()
    assert read(net, '{"sites": {}}').silence == Silence(())


def test_a_full_plan_is_read_as_one(net: ModelProto, plan_for: Callable[..., Plan]) -> None:
    plan = plan_for(net.SerializeToString(), {"a": {1: 0.5}})
    assert read(net, plan.to_json()) == plan


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("[1]", "the plan is .*, not an object"),
        ('{"sites": {"a": [1]}, "seed": 0}', "a plan by hand has no field 'seed'"),
        ('{"sites": {"a": [1]}, "mode": "cut"}', "mode is 'cut'"),
        ('{"sites": {"a": [1]}, "mode": ["zero"]}', "mode is"),
        ('{"sites": ["a"]}', "sites is"),
        ('{"sites": {"aa": [1]}}', "no site aa; did you mean a?"),
        ('{"sites": {"a": [1.5]}}', "not whole numbers"),
        ('{"sites": {"a": [true]}}', "not whole numbers"),
        ('{"sites": {"a": ["1"]}}', "not whole numbers"),
        ('{"sites": {"a": [-1]}}', "not whole numbers"),
        ('{"sites": {"a": [1, 1]}}', "once each"),
        ('{"sites": {"a": 1}}', "neither a list nor an object"),
        ('{"sites": {"a": {"x": 0}}}', "'x' is no channel"),
        ('{"sites": {"a": {"1": 0, "01": 0}}}', "stands twice"),
        ('{"sites": {"a": {"1": 1e39}}}', "is no constant"),
        ('{"sites": {"a": {"1": "0"}}}', "is no constant"),
        ('{"sites": {"a": [1], "a": [2]}}', "'a' stands twice"),
        ("{", "no JSON"),
    ],
)
def test_what_is_wrong_is_named(text: str, match: str, net: ModelProto) -> None:
    with pytest.raises(InputRefused, match=match) as error:
        read(net, text)
    assert str(error.value).startswith("p.json: ") and "\n" not in str(error.value)


def test_other_names_are_json_too(net: ModelProto) -> None:
    name = 'x / "é'
    net.graph.node[0].output[0] = net.graph.node[1].input[0] = name
    assert read(net, json.dumps({"sites": {name: [0]}})).sites[0].site == name
