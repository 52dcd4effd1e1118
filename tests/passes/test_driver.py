"""The driver holds passes to their promises."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import pytest
from onnx import ModelProto

from rnpc.errors import Exit, InputRefused, RnpcError
from rnpc.passes.canonical.batchnorm import FoldNorms
from rnpc.passes.canonical.canonical import rewritten
from rnpc.passes.canonical.clean import Clean
from rnpc.passes.canonical.order import Order
from rnpc.passes.driver import PassResult, apply, broken

X = np.random.default_rng(3).normal(size=(2, 3, 6, 6)).astype(np.float32)


@dataclass(frozen=True)
class Any:
    """A pass that does as it is told."""

    change: Callable[[ModelProto], object] = lambda model: None
    lacks: str | None = None
    breaks: str | None = None
    name: str = "any"
    bound: float | None = 0.0

    def requires(self, model: ModelProto) -> str | None:
        return self.lacks

    def run(self, model: ModelProto) -> PassResult:
        self.change(model)
        return PassResult(model, ({"kind": "told"},))

    def ensures(self, model: ModelProto) -> str | None:
        return self.breaks


def test_passes_keep_outputs_and_tell_their_edits(net: ModelProto, run: Callable[..., dict[str, np.ndarray]]) -> None:
    def compare(one: ModelProto, two: ModelProto) -> float:
        a, b = run(one, X, ["y"])["y"], run(two, X, ["y"])["y"]
        return float(np.abs(a - b).max() / np.abs(a).max())

    before = net.SerializeToString()
    result = rewritten(net, compare=compare)
    assert net.SerializeToString() == before
    assert result.edits == ({"pass": "fold_norms", "kind": "fold", "node": "n", "into": "c"},)


def test_a_pass_that_moves_outputs_is_a_defect(net: ModelProto) -> None:
    with pytest.raises(RnpcError, match="pass fold_norms: moved the outputs by 1, allowed is 1e-05; please report it") as error:
        apply([FoldNorms()], net, lambda one, two: 1.0)
    assert error.value.exit_code is Exit.DEFECT
    apply([replace(Any(), bound=None)], net, lambda one, two: 1.0)


def test_what_is_required_is_the_models_fault(net: ModelProto) -> None:
    with pytest.raises(InputRefused, match="pass any: node z is missing"):
        apply([Any(lacks="node z is missing")], net)


def test_what_is_ensured_is_checked(net: ModelProto) -> None:
    with pytest.raises(RnpcError, match="pass any: node z is left") as error:
        apply([Any(breaks="node z is left")], net)
    assert error.value.exit_code is Exit.DEFECT
    with pytest.raises(RnpcError, match=r"pass any: node r \(Relu\) reads a, which nothing makes"):
        apply([Any(lambda model: model.graph.node.pop(0))], net)


def test_edits_carry_the_pass(net: ModelProto) -> None:
    assert apply([Any(), Any(name="other")], net).edits == ({"pass": "any", "kind": "told"}, {"pass": "other", "kind": "told"})


def test_models_that_are_broken_on_arrival(net: ModelProto) -> None:
    del net.graph.initializer[:]
    with pytest.raises(InputRefused, match=r"model: node a \(Conv\) reads w0, which nothing makes"):
        apply([Clean()], net)


def test_what_broken_finds(make: Callable[..., ModelProto]) -> None:
    model = make("g (float[N] x) => (float[N] y) { y = Abs (x) }", {})
    assert broken(model) is None
    model.graph.node.add(op_type="Neg", input=["x"], output=["y"], name="again")
    assert broken(model) == "value y is made twice, the second time by node again (Neg)"
    model.graph.node[1].output[0] = "z"
    model.graph.output.add(name="lost")
    assert broken(model) == "output lost is made by no node"


def test_order_comes_before_what_wants_it(net: ModelProto) -> None:
    nodes = list(net.graph.node)[::-1]
    copies = [type(node).FromString(node.SerializeToString()) for node in nodes]
    del net.graph.node[:]
    net.graph.node.extend(copies)
    with pytest.raises(InputRefused, match=r"pass clean: node y \(Gemm\) reads k before it is made"):
        apply([Clean()], net)
    apply([Order(), Clean()], net)
