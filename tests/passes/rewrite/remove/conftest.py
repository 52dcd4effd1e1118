"""The random graphs, and the comparison of the zeroed with the removed graph that all tests here come down to."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import ModelProto, helper
from onnx.reference import ReferenceEvaluator

from rnpc.passes.facts.channels import analyse
from rnpc.passes.facts.channels.sizes import sizes
from rnpc.passes.facts.sites import find_sites
from rnpc.passes.rewrite.remove import RemoveResult, remove
from rnpc.passes.rewrite.zero import write_zeros
from rnpc.plan import Silence, silence

Same = Callable[..., RemoveResult]


@pytest.fixture(scope="session")
def graphs() -> ModuleType:
    """tests/passes/rewrite/remove/graphs.py."""
    spec = importlib.util.spec_from_file_location("remove_graphs", Path(__file__).parent / "graphs.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def plan_of() -> Callable[[ModelProto, dict[str, dict[int, float]]], Silence]:
    """plan_of(model, {site: {channel: constant}})."""
    return lambda model, values: silence(find_sites(model), values, "remove")


@pytest.fixture(scope="session")
def same() -> Same:
    """same(model, plan, bound): removes, checks the file, and asserts that outputs are those of the zeroed file within `bound`."""

    def compare(model: ModelProto, plan: Silence, bound: float = 0.0, seed: int = 0) -> RemoveResult:
        source = model.SerializeToString()
        zeroed = write_zeros(source, onnx.load_from_string(source), plan.sites).data
        removed = remove(source, onnx.load_from_string(source), plan)
        after = onnx.load_from_string(removed.data)
        onnx.checker.check_model(after, full_check=True)
        onnx.shape_inference.infer_shapes(after, check_type=True, strict_mode=True, data_prop=True)
        feeds = inputs(model, seed, whole=bound == 0)
        want, got = (ReferenceEvaluator(m).run(None, feeds) for m in (onnx.load_from_string(zeroed), after))
        for one, two in zip(want, got, strict=True):
            assert one.shape == two.shape
            assert np.abs(one - two).max() <= bound * np.abs(one).max(), np.abs(one - two).max()
        return removed

    return compare


@pytest.fixture(scope="session")
def check_facts() -> Callable[[ModelProto, Silence, int], None]:
    """check_facts(model, plan, seed): each value of the zeroed graph that is said to be constant is that constant in the reference."""

    def check(model: ModelProto, plan: Silence, seed: int) -> None:
        zeroed = onnx.load_from_string(write_zeros(model.SerializeToString(), model, plan.sites).data)
        facts, (_, types) = analyse(zeroed), sizes(zeroed)
        have = {value.name for value in zeroed.graph.output}
        more = [name for name in facts.values if name not in have]
        zeroed.graph.output.extend(helper.make_tensor_value_info(name, types[name], None) for name in more)
        names = [value.name for value in zeroed.graph.output]
        values: dict[str, Any] = dict(zip(names, ReferenceEvaluator(zeroed).run(None, inputs(model, seed, False)), strict=True))
        for name, known in facts.values.items():
            rows = np.moveaxis(values[name], known.axis, 0).reshape(known.count, -1).astype(np.float64)
            sure = ~np.isnan(known.constant)
            assert np.abs(rows[sure] - known.constant[sure, None]).max(initial=0) <= 1e-9, name

    return check


def inputs(model: ModelProto, seed: int, whole: bool) -> dict[str, np.ndarray]:
    """An image batch of two for each input; small integers where sums are to be exact."""
    rng, stored = np.random.default_rng(seed), {tensor.name for tensor in model.graph.initializer}
    feeds = {}
    for value in model.graph.input:
        if value.name not in stored:
            shape = [dim.dim_value or 2 for dim in value.type.tensor_type.shape.dim]
            kind = onnx.helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type)
            feeds[value.name] = (rng.integers(-3, 4, shape) if whole else rng.normal(size=shape)).astype(kind)
    return feeds
