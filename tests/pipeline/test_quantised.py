"""Quantised models on their whole way: read, proved, cut as the twin was, written, verified. The network is a small one with random
weights, quantised by onnxruntime as the house's forms do it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper
from onnxruntime.quantization import QuantType

from rnpc.defenses.base import Silence
from rnpc.errors import InputRefused
from rnpc.frontends import onnx_file
from rnpc.passes.rewrite.apply import apply
from rnpc.passes.rewrite.verify import verify
from rnpc.passes.wire import walk as wire
from rnpc.pipeline import harden
from rnpc.pipeline.plans import plan_of
from rnpc.pipeline.settings import Settings
from rnpc.program import Preprocessing, Program
from rnpc.runtime import Session
from rnpc.study.case import Shares, draw
from rnpc.study.subject import prepare
from rnpc.study.surgery import Channel, edits_of
from rnpc.study.tunable import Tunable
from rnpc.twin.parity import HALF_BOUND, prove
from rnpc.victims.forms import int8

TEXT = """<ir_version: 8, opset_import: ["" : 17]> g (float[N,3,8,8] x) => (float[N,5] y) {
    a = Conv <pads = [1,1,1,1]> (x, w0, b0)
    ra = Relu (a)
    c = Conv (ra, w1)
    rc = Relu (c)
    p = GlobalAveragePool (rc)
    f = Flatten (p)
    k = MatMul (f, w2)
    h = Add (k, b2)
    rh = Relu (h)
    y = Gemm (rh, w3, b3)
}"""
SHAPES = {"w0": (8, 3, 3, 3), "b0": (8,), "w1": (10, 8, 3, 3), "w2": (10, 12), "b2": (12,), "w3": (12, 5), "b3": (5,)}
PRE = Preprocessing(8, 8)
FORMS: dict[str, dict[str, Any]] = {
    "QDQ": {},
    "QOperator": {},
    "QDQ int8": {"per_channel": False, "activation_type": QuantType.QInt8},
    "QDQ uint8 weights": {"per_channel": False, "weight_type": QuantType.QUInt8},
    "QOperator uint8 weights": {"per_channel": False, "weight_type": QuantType.QUInt8},
}
Quantise = Callable[[str], Program]


@pytest.fixture(scope="module")
def pixels() -> np.ndarray:
    return np.random.default_rng(3).integers(0, 256, (48, 8, 8, 3), np.uint8)


@pytest.fixture(scope="module")
def inputs(pixels: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(pixels.transpose(0, 3, 1, 2), np.float32) / np.float32(255)


@pytest.fixture
def quantise(inputs: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> Quantise:
    """quantise(one of FORMS) -> the network in that form."""
    import onnxruntime.quantization as quantization

    rng, model, written = np.random.default_rng(0), onnx.parser.parse_model(TEXT), quantization.quantize_static
    weights = {name: rng.normal(size=shape).astype(np.float32) * 0.4 for name, shape in SHAPES.items()}
    model.graph.initializer.extend(numpy_helper.from_array(array, name) for name, array in weights.items())

    def made(name: str) -> Program:
        monkeypatch.setattr(quantization, "quantize_static", lambda *given, **options: written(*given, **{**options, **FORMS[name]}))
        copy = onnx.load_from_string(model.SerializeToString())
        return onnx_file.program("m.onnx", int8.quantised(copy, inputs, name.split()[0]).SerializeToString())

    return made


def cut(program: Program, share: int = 4) -> tuple[Channel, ...]:
    """Channels of every site with constants of any size, zero among them."""
    rng = np.random.default_rng(1)
    drawn = [(s, int(c)) for s in program.sites for c in rng.choice(s.channels, s.channels // share, replace=False)]
    return tuple(Channel(s.value, c, 1.0, 0.0 if k % 3 == 0 else float(rng.normal()) * 0.3) for k, (s, c) in enumerate(drawn))


@pytest.mark.parametrize("form", FORMS)
def test_the_file_is_what_the_twin_was(form: str, quantise: Quantise, inputs: np.ndarray) -> None:
    program = quantise(form)
    assert [site.kind for site in program.sites] == ["conv", "conv", "linear"]
    subject = prepare(program, PRE, "cpu")
    assert [site.value for site in subject.sites] == [site.value for site in program.sites]
    assert [site.codes for site in subject.sites] == [site.codes for site in program.sites]
    prove(subject.twin, program.model, inputs, where="m", threads=1)

    channels = cut(program)
    plan = plan_of(program, Silence(channels=channels), Settings(threads=1), "")
    assert plan is not None and len(plan.sites) == 3
    done = apply(program.source, plan)
    edits = edits_of(subject, channels)
    hardened = onnx_file.program("h.onnx", done.data)
    own = prepare(hardened, PRE, "cpu")
    with torch.no_grad():
        x = torch.from_numpy(inputs)
        wanted, plain = subject.twin(x, edits), subject.twin(x)
        _, values = own.twin(x, capture=[site.value for site in program.sites])
        torch.testing.assert_close(own.twin(x), wanted, rtol=0, atol=HALF_BOUND * float(wanted.abs().max()))
    assert (plain - wanted).abs().max() > 2 * HALF_BOUND * wanted.abs().max(), "the cut does something"
    for entry in plan.sites:
        for channel, value in entry.constants().items():
            assert torch.allclose(values[entry.site].movedim(1, 0)[channel], torch.tensor(value), rtol=1e-6, atol=1e-7)
    prove(own.twin, hardened.model, inputs, where="h", threads=1)


@pytest.mark.parametrize("form", ["QDQ", "QOperator"])
@pytest.mark.parametrize("mode", ["zero", "remove"])
def test_verify_accepts_it_and_no_other_code(form: str, mode: Any, quantise: Quantise, inputs: np.ndarray) -> None:
    program = quantise(form)
    plan = plan_of(program, Silence(channels=cut(program)), Settings(threads=1), "")
    assert plan is not None
    done, zeroed = apply(program.source, plan, mode=mode), apply(program.source, plan)
    assert verify(program.source, done.data, plan).result == verify(program.source, done.data).result == "verified"
    for name, tensor in wire.index(done.data).items():
        if name.endswith("_quantized"):
            other = bytearray(done.data)
            other[tensor.chunks[0].start] ^= 1
            assert verify(program.source, bytes(other), plan).result == "different"
    one, two = (run(data, inputs) for data in (zeroed.data, done.data))
    assert np.array_equal(one, two), "sums of codes are whole numbers"


def run(data: bytes, inputs: np.ndarray) -> np.ndarray:
    return Session(data, device="cpu", threads=1).run(inputs)


def test_channels_of_zero_are_removed_from_qdq(quantise: Quantise, inputs: np.ndarray) -> None:
    program = quantise("QDQ")
    channels = tuple(replace(channel, value=0.0) for channel in cut(program))
    plan = plan_of(program, Silence(channels=channels), Settings(threads=1), "")
    assert plan is not None
    done, zeroed = apply(program.source, plan, mode="remove"), apply(program.source, plan)
    assert done.kept == [] and len(done.data) < len(zeroed.data)
    onnx.checker.check_model(done.data, full_check=True)
    assert np.array_equal(run(done.data, inputs), run(zeroed.data, inputs))


@pytest.mark.parametrize("form", ["QDQ", "QOperator"])
def test_codes_are_not_tuned(form: str, quantise: Quantise, pixels: np.ndarray) -> None:
    case = draw(prepare(quantise(form), PRE, "cpu"), np.tile(pixels, (10, 1, 1, 1)), np.arange(480) % 5, Shares(learn=0.3), 0, 0.02)
    with pytest.raises(InputRefused, match="the model is quantised, and its codes cannot be tuned; tune the float model"):
        Tunable.of(case)


def test_inspect_and_harden_study_the_same(quantise: Quantise) -> None:
    for form in FORMS:
        assert len(harden.studied(quantise(form), Settings(threads=1, device="cpu")).sites) == 3
