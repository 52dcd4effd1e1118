"""verify: what was declared passes, everything else is named, and trust is in the plan that is given, never in the file's own."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import onnx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import ModelProto, TensorProto

from rnpc.errors import InputRefused
from rnpc.passes.rewrite import weights
from rnpc.passes.rewrite.apply import apply
from rnpc.passes.rewrite.verify import Verified, verify
from rnpc.passes.wire import provenance
from rnpc.passes.wire import walk as wire
from rnpc.plan import Plan, Silence

PlanFor = Callable[..., Plan]
CHOSEN = {"a": {1: 0.5, 3: -0.25}, "n": {0: 2.0}}


@pytest.fixture
def data(net: ModelProto) -> bytes:
    return bytes(net.SerializeToString() + wire.block(4000, b"unknown"))


@pytest.fixture
def plan(data: bytes, plan_for: PlanFor) -> Plan:
    return plan_for(data, CHOSEN)


def said(found: Verified) -> list[str]:
    assert (found.result == "different") == bool(found.differences)
    return [str(d) for d in found.differences]


def resealed(file: bytes, **changes: str) -> bytes:
    """The file with other metadata and a seal that fits: what a forger would write."""
    declared = provenance.read(onnx.load_from_string(file))
    declared |= {f"rnpc.{name}": value for name, value in changes.items()}
    declared["rnpc.seal"] = provenance.seal(declared)
    return provenance.append(provenance.strip(file), declared)


def test_declared_edits_pass(data: bytes, plan: Plan) -> None:
    done = apply(data, plan)
    own, trusted = verify(data, done.data), verify(data, done.data, plan, require_hardened=True)
    assert (own.result, own.source, own.seal, own.plan, own.edits) == ("verified", "self-declared", True, plan, done.edits)
    assert (trusted.result, trusted.source) == ("verified", "trusted")


def test_unchanged(data: bytes, plan: Plan) -> None:
    assert verify(data, data) == Verified("unchanged")
    assert said(verify(data, data, require_hardened=True)) == ["hardening: file: declared a hardened file, found no edits"]
    missing = verify(data, data, plan)
    assert missing.result == "different" and missing.seal is None


def test_a_plan_without_edits_is_no_hardening(data: bytes, plan: Plan) -> None:
    """An attacker could hang an empty plan on the original."""
    for silence in (None, Silence(()), replace(plan, silence=Silence((replace(plan.sites[0], channels=(), values=()),))).silence):
        done = apply(data, replace(plan, silence=silence)).data
        assert verify(data, done).result == "verified"
        assert verify(data, done, require_hardened=True).result == "different"


def test_no_plan_and_other_bytes(data: bytes, plan: Plan) -> None:
    bare = provenance.strip(apply(data, plan).data)
    found = said(verify(data, bare))
    assert found[0] == "metadata: file: declared a plan, in the file or given, found none"
    assert [line.split(":")[0] for line in found[1:]] == ["tensor"] * 4
    assert all("metadata rnpc" in line for line in said(verify(data, bare, plan)))


def test_the_file_does_not_decide_what_is_trusted(data: bytes, plan: Plan, plan_for: PlanFor) -> None:
    """A file that was pruned in other channels, with a plan that says so, is whole by its own word only."""
    other = apply(data, plan_for(data, {"a": {0: 0.5}})).data
    assert verify(data, other).result == "verified"
    assert verify(data, other, plan).result == "different"


def test_tampering_with_metadata(data: bytes, plan: Plan, plan_for: PlanFor) -> None:
    done = apply(data, plan).data
    more = plan_for(data, {"a": {0: 0.5}}).to_json()
    for forged in (resealed(done, plan=more), resealed(done, data="0"), resealed(done, original="0"), resealed(done, note="x")):
        assert verify(data, forged).result == "different" and verify(data, forged, plan).result == "different"
    broken = verify(data, done.replace(b'"seed":0', b'"seed":7'))
    assert broken.seal is False and said(broken)[0].startswith("seal: metadata rnpc.seal")
    assert "made for" in said(verify(data, resealed(done, plan=replace(plan, original="0" * 64).to_json())))[0]
    assert "no JSON" in said(verify(data, resealed(done, plan="{")))[0]
    gone = plan.to_json().replace('"site":"a"', '"site":"zz"')
    assert "the model has no conv site zz" in said(verify(data, resealed(done, plan=gone)))[0]


def test_unknown_rules_are_refused(data: bytes, plan: Plan) -> None:
    other = replace(plan, rewrite="rnpc.rewrite/99")
    with pytest.raises(InputRefused, match="is unknown"):
        verify(data, apply(data, plan).data, other)
    with pytest.raises(InputRefused, match="is unknown"):
        verify(data, resealed(apply(data, plan).data, plan=other.to_json()))


def test_another_original(data: bytes, plan: Plan) -> None:
    done, other = apply(data, plan).data, data + wire.block(4001, b"")
    assert "the original given is" in said(verify(other, done))[0]
    with pytest.raises(InputRefused, match="made for"):
        verify(other, done, plan)


def test_files_that_cannot_be_read(data: bytes, plan: Plan) -> None:
    done = apply(data, plan).data
    for bad in (b"", b"junk", done[:-3], done[: len(done) // 2]):
        with pytest.raises(InputRefused, match="not an ONNX file"):
            verify(data, bad)


def test_the_file_may_be_in_the_other_mode(data: bytes, plan: Plan) -> None:
    """Zeroed and removed channels are the same edits: the trusted plan's, in the mode that the file declares."""
    assert plan.silence is not None
    removing = replace(plan, silence=replace(plan.silence, mode="remove"))
    found = verify(data, apply(data, removing, mode="zero").data, removing)
    assert found.result == "verified" and found.plan == plan


def test_retrained_tensors_need_a_trusted_plan(data: bytes, plan: Plan) -> None:
    new = {"b3": np.arange(5, dtype=np.float32)}
    tuned = replace(plan, weights=weights.declare(data, new))
    done = apply(data, tuned, new).data
    assert verify(data, done, tuned).result == "verified"  # the digests are the plan's, the bytes may come from the file
    assert verify(data, done, tuned, new).result == "verified"
    assert said(verify(data, done)) == [
        "tensor: tensor b3: declared digests in a trusted plan (--plan), found retrained, by the file's own word only"
    ]
    other = {"b3": new["b3"] + 1}
    forged = apply(data, replace(plan, weights=weights.declare(data, other)), other).data
    assert "sha256" in said(verify(data, forged, tuned))[0]
    assert verify(data, forged, tuned, new).result == "different"
    with pytest.raises(InputRefused, match="not those of the plan"):
        verify(data, forged, tuned, other)


def test_retrained_and_silenced_in_one_tensor(data: bytes, plan_for: PlanFor) -> None:
    new = {"b0": np.arange(4, dtype=np.float32)}
    plan = replace(plan_for(data, {"a": {1: 0.5}}), weights=weights.declare(data, new))
    done = apply(data, plan, new).data
    assert verify(data, done, plan, new).result == "verified"
    assert "give its new values with --weights" in said(verify(data, done, plan))[0]


def test_data_moved_out_of_the_file(data: bytes, plan: Plan) -> None:
    """What a hardened file holds cannot be proved of a file that lies beside it."""
    model = onnx.load_from_string(apply(data, plan).data)
    tensor = model.graph.initializer[-1]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="weights.bin")
    assert any(line.startswith("external data:") for line in said(verify(data, model.SerializeToString(), plan)))


def test_an_original_that_was_hardened_before(data: bytes, plan: Plan, plan_for: PlanFor) -> None:
    done = apply(data, plan).data
    assert verify(done, done).result == "different"
    assert hashlib.sha256(done).hexdigest() != plan.original
    with pytest.raises(InputRefused, match="already hardened"):
        verify(done, done, plan_for(done, CHOSEN))


def test_text_that_is_no_text(data: bytes, plan: Plan) -> None:
    """protobuf hands out a string that is no UTF-8 as bytes."""
    done = apply(data, plan).data
    for broken in (done.replace(b"rnpc.data", b"rnpc.d\xffta"), done.replace(b'"seed":0', b'"seed":\xff'), done.replace(b"net", b"n\xfft")):
        assert broken != done and verify(data, broken).result == verify(data, broken, plan).result == "different"


@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(0, 10**6), st.integers(0, 2), st.integers(1, 255))
def test_any_damage(data: bytes, plan: Plan, at: int, sort: int, value: int) -> None:
    """A byte changed, lost or put in anywhere: a difference, or a file that is refused; never a pass, never a defect."""
    done = apply(data, plan).data
    at %= len(done)
    changed = (bytes([done[at] ^ value]), b"", bytes([done[at], value]))[sort]
    for given_plan in (None, plan):
        try:
            found = verify(data, done[:at] + changed + done[at + 1 :], given_plan)
        except InputRefused:
            continue
        assert said(found)
