"""Names, makers and readers of a graph."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from onnx import ModelProto, helper

from rnpc.passes.facts.view import View, is_op, node_name


def test_an_operator_is_its_domain_and_its_name() -> None:
    assert is_op(helper.make_node("Conv", ["x"], ["y"]), "Gemm", "Conv")
    assert is_op(helper.make_node("Conv", ["x"], ["y"], domain="ai.onnx"), "Conv")
    assert not is_op(helper.make_node("Conv", ["x"], ["y"], domain="own"), "Conv")


def test_names() -> None:
    assert node_name(helper.make_node("Relu", ["x"], ["y"], name="act")) == "act"
    assert node_name(helper.make_node("Dropout", ["x"], ["", "mask"])) == "mask"


def test_what_leads_to_a_value(net: ModelProto) -> None:
    view = View(net)
    assert view.leading_to("r") == [0, 1] and view.leading_to("x") == [] and len(view.leading_to("y")) == len(net.graph.node)


def test_roots_and_uses(make: Callable[..., ModelProto]) -> None:
    text = "g (float[N] x) => (float[N] y) { i = Identity (w) j = own.Identity (w) a = Add (x, i) b = Add (a, w) y = Add (b, j) }"
    view = View(make(text, {"w": np.ones(1, np.float32)}))
    assert view.root("i") == "w" and view.root("j") == "j" and view.uses("w") == 3
    assert view.tensor("i") is not None and view.tensor("j") is None and view.only_reader("a") == 3
