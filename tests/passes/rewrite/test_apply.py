"""The one door: retrained tensors, then silenced channels, then the metadata; the same bytes wherever it is done."""

from __future__ import annotations

import os
import subprocess
import sys
import types
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import ModelProto, TensorProto, numpy_helper

from rnpc.errors import InputRefused
from rnpc.models import demo
from rnpc.passes.rewrite import weights
from rnpc.passes.rewrite.apply import apply
from rnpc.passes.rewrite.verify import verify
from rnpc.passes.rewrite.zero import write_zeros
from rnpc.passes.wire import external, provenance
from rnpc.passes.wire import walk as wire
from rnpc.plan import Plan, Silence

CHOSEN = {"a": {1: 0.5, 3: -0.25}, "n": {0: 2.0}, "h": {6: 0.0, 2: 1e-3}}
PlanFor = Callable[..., Plan]


def test_zeroed_with_its_metadata(net: ModelProto, plan_for: PlanFor) -> None:
    data = net.SerializeToString() + wire.block(4000, b"unknown")
    plan = plan_for(data, CHOSEN)
    done, want = apply(data, plan), write_zeros(data, net, plan.sites)
    assert done.edits == want.edits and provenance.strip(done.data) == want.data and done.plan == plan
    assert provenance.read(onnx.load_from_string(done.data)) == provenance.entries(plan)
    assert apply(data, Plan.from_json(plan.to_json())) == done


def test_weights_come_before_channels(net: ModelProto, plan_for: PlanFor) -> None:
    """A channel of a retrained tensor that is silenced holds its constant in the end."""
    data = net.SerializeToString()
    new = {"b0": np.float32([10, 11, 12, 13])}
    plan = replace(plan_for(data, {"a": {1: 0.5}}), weights=weights.declare(data, new))
    done = apply(data, plan, new)
    assert [e["kind"] for e in done.edits] == ["replace", "zero", "set"]
    found = {t.name: numpy_helper.to_array(t) for t in onnx.load_from_string(done.data).graph.initializer}
    assert found["b0"].tolist() == [10, 0.5, 12, 13]
    only = apply(data, replace(plan, silence=None), new)
    assert [e["kind"] for e in only.edits] == ["replace"]
    with pytest.raises(InputRefused, match="new values are not given"):
        apply(data, plan)
    with pytest.raises(InputRefused, match="b0 is not one that the plan replaces"):
        apply(data, replace(plan, weights=None), new)


def test_a_plan_without_edits_only_declares(net: ModelProto, plan_for: PlanFor) -> None:
    data = net.SerializeToString()
    for silence in (None, Silence(()), Silence((), "remove")):
        done = apply(data, replace(plan_for(data, {}), silence=silence))
        assert done.edits == [] and provenance.strip(done.data) == data


def test_remove_goes_to_its_pass(net: ModelProto, plan_for: PlanFor, monkeypatch: pytest.MonkeyPatch) -> None:
    data = net.SerializeToString()
    plan = plan_for(data, CHOSEN)
    seen: list[Silence] = []

    def remove(source: bytes, model: ModelProto, silence: Silence) -> object:
        seen.append(silence)
        return types.SimpleNamespace(data=source + wire.block(4001, b"removed"), edits=[{"kind": "remove"}], kept=[("a", 3, "why")])

    fake = types.ModuleType("rnpc.passes.rewrite.remove")
    monkeypatch.setitem(sys.modules, fake.__name__, fake)
    with pytest.raises(InputRefused, match="cannot remove"):
        apply(data, plan, mode="remove")
    fake.remove = remove  # type: ignore[attr-defined]
    done = apply(data, plan, mode="remove")
    assert done.edits == [{"kind": "remove"}] and done.kept == [("a", 3, "why")] and [s.mode for s in seen] == ["remove"]
    assert Plan.from_json(provenance.read(onnx.load_from_string(done.data))["rnpc.plan"]) == done.plan
    assert plan.silence is not None and done.plan.silence == replace(plan.silence, mode="remove")
    assert apply(data, done.plan) == done and apply(data, done.plan, mode="zero") == apply(data, plan)


def test_removed_for_real(net: ModelProto, plan_for: PlanFor, run: Callable[..., dict[str, np.ndarray]]) -> None:
    data = net.SerializeToString()
    plan = plan_for(data, CHOSEN)
    zeroed, removed = apply(data, plan), apply(data, plan, mode="remove")
    x = np.random.default_rng(0).normal(size=(2, 3, 6, 6)).astype(np.float32)
    np.testing.assert_allclose(run(removed.data, x, ["y"])["y"], run(zeroed.data, x, ["y"])["y"], rtol=1e-5, atol=1e-5)
    assert any(e["kind"] == "remove" for e in removed.edits) and len(removed.data) < len(zeroed.data)
    assert verify(data, removed.data).result == verify(data, removed.data, plan).result == "verified"


def test_what_does_not_fit(net: ModelProto, plan_for: PlanFor, tmp_path: Path) -> None:
    data = net.SerializeToString()
    plan = plan_for(data, CHOSEN)
    once = apply(data, plan).data
    onnx.save(net, tmp_path / "m.onnx", save_as_external_data=True, location="m.data", size_threshold=0)
    outside = (tmp_path / "m.onnx").read_bytes()
    for source, bad, match in (
        (data, replace(plan, rewrite="rnpc.rewrite/1"), "is unknown"),
        (data, replace(plan, original="0" * 64), "made for 000000000000"),
        (once, plan_for(once, CHOSEN), "already hardened"),
        (outside, plan_for(outside, {}), "lies in another file"),
        (b"\x08\x01junk", replace(plan_for(data, {}), original=weights.digest(b"\x08\x01junk")), "not an ONNX file"),
    ):
        with pytest.raises(InputRefused, match=match) as error:
            apply(source, bad)
        assert "\n" not in str(error.value)


def test_external_data_is_under_the_digest(net: ModelProto, plan_for: PlanFor, tmp_path: Path) -> None:
    onnx.save(net, tmp_path / "m.onnx", save_as_external_data=True, location="m.data", size_threshold=0)
    raw = (tmp_path / "m.onnx").read_bytes()
    data, _ = external.inline(raw, tmp_path, "m")
    plan = plan_for(data, CHOSEN)
    assert not any(t.data_location == TensorProto.EXTERNAL for t in onnx.load_from_string(apply(data, plan).data).graph.initializer)
    with (tmp_path / "m.data").open("r+b") as file:
        file.write(b"\x01")
    with pytest.raises(InputRefused, match="the plan was made for"):
        apply(external.inline(raw, tmp_path, "m")[0], plan)


FRESH = """
import hashlib, sys
from rnpc.passes.facts.sites import find_sites
from rnpc.passes.rewrite.apply import apply, parse
from rnpc.passes.rewrite.by_hand import read_plan
from rnpc.passes.rewrite.verify import verify
source = open(sys.argv[1], "rb").read()
done = apply(source, read_plan(sys.argv[2], source, find_sites(parse(source)), "plan"))
assert verify(source, done.data).result == "verified"
assert not {"torch", "onnxruntime"} & sys.modules.keys()
print(hashlib.sha256(done.data).hexdigest())
"""
HAND = '{"sites": {"getitem": {"1": 0.5}, "getitem_9": [3, 7], "getitem_45": {"0": -1.5, "63": 2}}}'


def digests(count: int) -> set[str]:
    """What fresh processes with other hash seeds say; each also verifies, without torch and onnxruntime."""
    command = [sys.executable, "-c", FRESH, str(Path(demo.__file__).parent / "model.onnx"), HAND]
    return {
        subprocess.run(command, env={**os.environ, "PYTHONHASHSEED": str(seed)}, capture_output=True, text=True, check=True).stdout
        for seed in range(count)
    }


def test_one_digest_in_fresh_processes_without_torch() -> None:
    assert len(digests(3)) == 1


@pytest.mark.slow
def test_one_digest_twenty_times() -> None:
    assert len(digests(20)) == 1
