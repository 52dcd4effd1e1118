"""Folding changes no output; restoring is the identity in eval mode for every channel, dead ones included."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
import pytest
from onnx import ModelProto, numpy_helper

from rnpc.errors import InputRefused
from rnpc.passes.canonical.batchnorm import fold_bn, unfold_bn
from rnpc.passes.facts.sites import find_sites

Run = Callable[..., dict[str, np.ndarray]]
X = np.random.default_rng(2).normal(size=(5, 3, 6, 6)).astype(np.float32)


def ops(model: ModelProto) -> list[str]:
    return [node.op_type for node in model.graph.node]


def test_fold_keeps_values_and_outputs(net: ModelProto, run: Run) -> None:
    before = net.SerializeToString()
    folded = fold_bn(net)
    onnx.checker.check_model(folded)
    assert net.SerializeToString() == before and "BatchNormalization" not in ops(folded)
    assert [s.value for s in find_sites(folded)] == ["a", "n", "h"]
    assert not {"scale", "shift", "mean", "var", "w1"} & {t.name for t in folded.graph.initializer}
    one, two = run(net, X, ["n", "y"]), run(folded, X, ["n", "y"])
    for value in one:
        np.testing.assert_allclose(two[value], one[value], rtol=1e-4, atol=1e-5)


def test_fold_leaves_shared_and_training_alone(make: Callable[..., ModelProto], random: Callable[..., np.ndarray]) -> None:
    text = """g (float[N,3,6,6] x) => (float[N,4,6,6] y) { c = Conv (x, w) n = BatchNormalization (c, s, b, m, v)
        t, m2, v2 = BatchNormalization <training_mode = 1> (n, s, b, m, v) y = Add (c, t) }"""
    model = make(text, {"w": random(4, 3, 1, 1), "s": random(4), "b": random(4), "m": random(4), "v": np.abs(random(4))})
    assert fold_bn(model).SerializeToString() == model.SerializeToString()


def test_fold_with_tied_filters(make: Callable[..., ModelProto], random: Callable[..., np.ndarray], run: Run) -> None:
    text = """g (float[N,3,6,6] x) => (float[N,4,6,6] y) { i = Identity (w) c = Conv (x, w) d = Conv (x, i)
        n = BatchNormalization (c, s, b, m, v) y = Add (n, d) }"""
    model = make(text, {"w": random(4, 3, 1, 1), "s": random(4), "b": random(4), "m": random(4), "v": np.abs(random(4))})
    np.testing.assert_allclose(run(fold_bn(model), X, ["y"])["y"], run(model, X, ["y"])["y"], rtol=1e-4, atol=1e-5)


def test_unfold_is_the_identity(net: ModelProto, run: Run) -> None:
    folded = fold_bn(net)
    weight = next(t for t in folded.graph.initializer if t.name == "n.weight")
    dead = numpy_helper.to_array(weight).copy()
    dead[0] = 0
    weight.CopyFrom(numpy_helper.from_array(dead, weight.name))
    values = run(folded, X, ["a", "n", "h", "y"])
    stats = {v: (values[v].mean((0, 2, 3)), values[v].var((0, 2, 3))) for v in ("a", "n")}
    unfolded = unfold_bn(folded, stats, 1e-5)
    onnx.checker.check_model(unfolded)
    assert ops(unfolded).count("BatchNormalization") == 2
    assert [(s.value, s.kind, s.weight) for s in find_sites(unfolded)][:2] == [("a", "bn", "a.bn.weight"), ("n", "bn", "n.bn.weight")]
    again = run(unfolded, X, ["a", "n", "h", "y"])
    for value in values:
        np.testing.assert_allclose(again[value], values[value], rtol=1e-5, atol=1e-5)


def test_silenced_gamma_leaves_the_mean(net: ModelProto, run: Run) -> None:
    values = run(net, X, ["a"])["a"]
    mean = values.mean((0, 2, 3))
    unfolded = unfold_bn(net, {"a": (mean, values.var((0, 2, 3)))}, 1e-5)
    gamma = next(t for t in unfolded.graph.initializer if t.name == "a.bn.weight")
    gamma.CopyFrom(numpy_helper.from_array(np.zeros(4, np.float32), gamma.name))
    assert (run(unfolded, X, ["a"])["a"] == mean.reshape(1, 4, 1, 1)).all()


def test_unfold_unknown_value(net: ModelProto) -> None:
    with pytest.raises(InputRefused, match="no node makes the value nope"):
        unfold_bn(net, {"nope": (np.zeros(1), np.ones(1))})
