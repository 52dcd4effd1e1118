"""Every kind of outcome as a plan of the user's graph: what it names, what it holds, and what can be applied."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

from rnpc.defenses.base import Nothing, Silence, Weights
from rnpc.errors import InputRefused
from rnpc.frontends import onnx_file
from rnpc.passes.rewrite.apply import apply
from rnpc.pipeline.plans import plan_of
from rnpc.pipeline.settings import Settings
from rnpc.plan import Plan
from rnpc.program import Program
from rnpc.study.case import Case
from rnpc.study.surgery import Channel

CHANNELS = (Channel("features", 7, 2.0, 0.25), Channel("features", 3, 1.5, -1.0))
SETTINGS = Settings(method="fine-pruning", seed=4, options={"epochs": 3})


@pytest.fixture
def program(case: Case) -> Program:
    """The planted network as a program."""
    program: Program = onnx_file.program("planted", case.subject.original.SerializeToString())
    return program


def stored(data: bytes, name: str) -> np.ndarray:
    """A tensor of a file."""
    graph = onnx.load_model_from_string(data).graph
    return next(np.asarray(onnx.numpy_helper.to_array(t)) for t in graph.initializer if t.name == name)


def test_nothing_is_no_plan(program: Program) -> None:
    assert plan_of(program, Nothing(why="no cut fits"), SETTINGS, "d") is None


def test_silenced_channels_stand_in_rising_order_with_their_constants(program: Program) -> None:
    plan = plan_of(program, Silence(channels=CHANNELS, threshold=1.5000000001), SETTINGS, "digest")
    assert plan is not None and plan.weights is None and plan.silence is not None and plan.silence.mode == "zero"
    assert plan.sites[0].channels == (3, 7) and plan.sites[0].constants() == {3: -1.0, 7: 0.25} and plan.channels == 2
    assert (plan.method, plan.seed, plan.original, plan.data, plan.threshold) == ("fine-pruning", 4, program.sha256, "digest", 1.5)
    assert plan.settings == {"max_ca_drop": None, "limit": 0.04, "rate": 0.01, "epochs": 3}
    assert Plan.from_json(plan.to_json()) == plan


def test_weights_are_replaced_before_channels_are_silenced(program: Program) -> None:
    tensors = {"b": np.full(40, 5.0, np.float32)}
    plan = plan_of(program, Weights(channels=CHANNELS, tensors=tensors), SETTINGS, "d")
    assert plan is not None and plan.weights is not None and [entry.tensor for entry in plan.weights.tensors] == ["b"]
    bias = stored(apply(program.source, plan, tensors).data, "b")
    assert bias[3] == -1.0 and bias[7] == 0.25 and (np.delete(bias, [3, 7]) == 5.0).all()


def test_weights_alone_silence_nothing(program: Program) -> None:
    plan = plan_of(program, Weights(channels=(), tensors={"u": np.ones(3, np.float32)}), SETTINGS, "d")
    assert plan is not None and plan.silence is None and plan.channels == 0 and plan.threshold is None


def test_the_mode_is_the_settings(program: Program) -> None:
    plan = plan_of(program, Silence(channels=CHANNELS), Settings(mode="remove"), "d")
    assert plan is not None and plan.silence is not None and plan.silence.mode == "remove"


@pytest.mark.parametrize("tensors", [{"none": np.zeros(3, np.float32)}, {"u": np.zeros(3)}, {"u": np.zeros(4, np.float32)}])
def test_tensors_that_the_file_does_not_have_are_refused(program: Program, tensors: dict[str, np.ndarray]) -> None:
    with pytest.raises(InputRefused):
        plan_of(program, Weights(channels=(), tensors=tensors), SETTINGS, "d")
