"""The driver holds passes to their promises."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from onnx import ModelProto

from rnpc.errors import Exit, InputRefused, RnpcError
from rnpc.passes.driver import CLEAN, FOLD, apply

X = np.random.default_rng(3).normal(size=(2, 3, 6, 6)).astype(np.float32)


def test_passes_keep_outputs(net: ModelProto, run: Callable[..., dict[str, np.ndarray]]) -> None:
    def compare(one: ModelProto, two: ModelProto) -> float:
        a, b = run(one, X, ["y"])["y"], run(two, X, ["y"])["y"]
        return float(np.abs(a - b).max() / np.abs(a).max())

    result = apply([CLEAN, FOLD], net, compare)
    assert [name for name, _, _ in result.nodes] == ["clean", "fold_bn"] and result.nodes[1][1:] == (10, 9)


def test_broken_promises_are_defects(net: ModelProto) -> None:
    with pytest.raises(RnpcError, match="pass fold_bn: moved the outputs by 1, allowed is 1e-05") as error:
        apply([FOLD], net, lambda one, two: 1.0)
    assert error.value.exit_code is Exit.DEFECT
    with pytest.raises(RnpcError, match="left an invalid model"):
        apply([replace(FOLD, run=lambda model: ModelProto())], net)


def test_invalid_input(net: ModelProto) -> None:
    del net.graph.initializer[:]
    net.graph.node[0].op_type = "NoSuch"
    with pytest.raises(InputRefused, match="the model is invalid"):
        apply([CLEAN], net)
