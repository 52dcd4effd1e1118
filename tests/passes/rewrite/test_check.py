"""Plans that do not fit are refused with what is wrong; the cases that a rewrite meets are in test_zero and test_apply."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from onnx import ModelProto

from rnpc.errors import InputRefused
from rnpc.passes.facts.sites import find_sites
from rnpc.passes.rewrite.check import check_original, check_plan, check_rewrite, check_silence
from rnpc.plan import Plan, Silence


def test_each_condition_by_itself(net: ModelProto, plan_for: Callable[..., Plan]) -> None:
    data, sites = net.SerializeToString(), find_sites(net)
    plan = plan_for(data, {"a": {1: 0.5}})
    assert plan.silence is not None
    check_plan(data, sites, plan)
    check_plan(data, sites, replace(plan, silence=replace(plan.silence, mode="remove")))
    with pytest.raises(InputRefused, match=r"rewrite version 'rnpc\.rewrite/1' is unknown"):
        check_rewrite(replace(plan, rewrite="rnpc.rewrite/1"))
    with pytest.raises(InputRefused, match="the plan was made for"):
        check_original(data + b"\x30\x00", plan)
    with pytest.raises(InputRefused, match="listed twice"):
        check_silence(sites, Silence(plan.sites * 2))
