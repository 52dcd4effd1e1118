"""One model, one answer: verdict, label and channels are the same however the network was written."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from rnpc.defenses.auto import Auto, battery, cut
from rnpc.defenses.base import Outcome, Silence
from rnpc.detectors.base import Detection
from rnpc.detectors.triggers import Triggers
from rnpc.frontends import onnx_file
from rnpc.study.case import Case
from rnpc.study.inversion import Effort
from rnpc.study.subject import prepare
from rnpc.victims.forms.base import Given
from rnpc.victims.forms.tails import FORMS

TAILS = {form.name: form for form in FORMS}
SLOW = pytest.mark.slow
Answer = tuple[Detection, Outcome]


@pytest.fixture(autouse=True, scope="module")
def brief() -> Iterator[None]:
    """These networks need less effort."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(battery, "EFFORT", Effort(20, 8))
        patch.setattr(battery, "STARTS", (0,))
        patch.setattr(battery, "SHOWN", 24)
        patch.setattr(cut, "STRONG", Effort(24, 8))
        patch.setattr(cut, "STEPS", (2,))
        yield


@pytest.fixture(scope="module")
def known() -> dict[str, Answer]:
    """The plain network's answer, once it was asked for."""
    return {}


@pytest.fixture
def plain(case: Case, known: dict[str, Answer]) -> Answer:
    """The answer for the planted network as it is."""
    if not known:
        known["plain"] = answer(case)
    return known["plain"]


def answer(case: Case) -> Answer:
    """What is seen in a case, and what is cut."""
    detection = Triggers("quick").detect(case)
    return detection, Auto(repair=False).defend(case, detection)


def rewritten(case: Case, rewrite: Callable[[onnx.ModelProto], onnx.ModelProto]) -> Case:
    """The case with its network written in another way."""
    model = rewrite(onnx.ModelProto.FromString(case.subject.original.SerializeToString()))
    onnx.checker.check_model(model)
    return replace(case, subject=prepare(onnx_file.program("rewritten", model.SerializeToString()), case.subject.pre, "cpu").exact())


@pytest.mark.parametrize(
    "name", ["softmax", "temperature", "reshape", *(pytest.param(name, marks=SLOW) for name in ("logsoftmax", "sigmoid"))]
)
def test_a_score_tail_changes_no_bit(case: Case, plain: Answer, name: str) -> None:
    """No division by a Softmax's flat gradients, no cost in another unit."""
    rewrite = TAILS[name].rewrite
    assert rewrite is not None
    (seen, done), (expected, wanted) = answer(rewritten(case, lambda model: rewrite(renamed(model), Given()))), plain
    assert (seen.verdict, seen.suspects, seen.numbers, seen.reached) == (
        expected.verdict,
        expected.suspects,
        expected.numbers,
        expected.reached,
    )
    assert expected.verdict == "backdoored" and expected.suspects[0].label == 1
    assert isinstance(done, Silence) and isinstance(wanted, Silence)
    assert done.channels == wanted.channels and done.ranking == wanted.ranking and done.numbers == wanted.numbers
    assert {channel.index for channel in wanted.channels[:2]} == {36, 37}


def test_batchnorm_kept_or_folded_gives_one_answer(case: Case, plain: Answer) -> None:
    """Folding rounds otherwise, so that costs may differ in their last digits; what is decided may not."""
    kept = rewritten(case, with_batchnorm)
    assert [node.op_type for node in kept.subject.original.graph.node][:2] == ["Conv", "BatchNormalization"]
    (seen, done), (expected, wanted) = answer(kept), plain
    assert (seen.verdict, seen.suspects[0].label) == (expected.verdict, expected.suspects[0].label) == ("backdoored", 1)
    assert isinstance(done, Silence) and isinstance(wanted, Silence) and done.label == wanted.label == 1
    assert {(c.site, c.index) for c in done.channels} == {(c.site, c.index) for c in wanted.channels}
    values = [{c.index: c.value for c in outcome.channels} for outcome in (done, wanted)]
    assert values[0] == pytest.approx(values[1], abs=0.05)


def renamed(model: onnx.ModelProto) -> onnx.ModelProto:
    """With another name for the scores, since tails call theirs `scores`."""
    model.graph.node[-1].output[0] = model.graph.output[0].name = "plain"
    return model


def with_batchnorm(model: onnx.ModelProto) -> onnx.ModelProto:
    """The first convolution's filters and bias parted into a convolution without one and a BatchNormalization: W = a W', b = beta - a mu
    with a = gamma / sqrt(var + eps)."""
    graph, rng = model.graph, np.random.default_rng(0)
    tensors = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    channels = len(tensors["b"])
    gamma, mean, var = rng.uniform(0.5, 2, channels), rng.normal(size=channels), rng.uniform(0.2, 3, channels)
    a = gamma / np.sqrt(var + 1e-5)
    new = {"w": tensors["w"] / a[:, None, None, None], "gamma": gamma, "beta": tensors["b"] + a * mean, "mean": mean, "var": var}
    left = [numpy_helper.from_array(tensors[name], name) for name in tensors if name not in ("w", "b")]
    del graph.initializer[:]
    graph.initializer.extend([*left, *(numpy_helper.from_array(value.astype(np.float32), name) for name, value in new.items())])
    conv = graph.node[0]
    norm = helper.make_node("BatchNormalization", ["raw", "gamma", "beta", "mean", "var"], [conv.output[0]], name="norm", epsilon=1e-5)
    del conv.input[2:]
    conv.output[0] = "raw"
    graph.node.insert(1, norm)
    return model
