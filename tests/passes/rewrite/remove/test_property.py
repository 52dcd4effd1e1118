"""Random graphs, random plans: the removed graph computes what the zeroed graph computes.

benchmarks/remove.py does the same over hundreds of seeds.
"""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType

import numpy as np
import onnx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rnpc.passes.rewrite.remove import RemoveResult, remove
from rnpc.passes.rewrite.zero import write_zeros

SEEDS = st.integers(0, 2**20)
FEW = settings(max_examples=40, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
Same = Callable[..., RemoveResult]


@FEW
@given(SEEDS)
def test_whole_numbers_to_the_bit(graphs: ModuleType, same: Same, seed: int) -> None:
    """Sums of small integers do not depend on their order. A carrier whose constant is no power of two divides inexactly."""
    model = graphs.random_model(seed, whole=True)
    result = remove(model.SerializeToString(), model, graphs.random_plan(model, seed, whole=True))
    inexact = any(edit["kind"] == "merge" for edit in result.edits)
    same(model, graphs.random_plan(model, seed, whole=True), 1e-12 if inexact else 0.0, seed)


@FEW
@given(SEEDS)
def test_doubles_up_to_the_order_of_sums(graphs: ModuleType, same: Same, seed: int) -> None:
    model = graphs.random_model(seed, whole=False)
    same(model, graphs.random_plan(model, seed, whole=False), 1e-10, seed)


@FEW
@given(SEEDS)
def test_floats_in_onnxruntime(graphs: ModuleType, run: Callable[..., dict[str, np.ndarray]], seed: int) -> None:
    """Within 1e-4 of the largest score: a normalisation may divide by little."""
    model = graphs.random_model(seed, False, np.float32)
    plan, source = graphs.random_plan(model, seed, whole=False), model.SerializeToString()
    zeroed, removed = write_zeros(source, model, plan.sites).data, remove(source, model, plan).data
    x, name = np.random.default_rng(seed).normal(size=(2, 3, 8, 8)).astype(np.float32), model.graph.output[0].name
    want, got = run(zeroed, x, [name])[name], run(removed, x, [name])[name]
    assert np.abs(want - got).max() <= 1e-4 * np.abs(want).max()


@FEW
@given(SEEDS)
def test_facts_are_true(graphs: ModuleType, check_facts: Callable[..., None], seed: int) -> None:
    """Each value that is said to be constant is that constant in the reference."""
    model = graphs.random_model(seed, whole=False)
    check_facts(model, graphs.random_plan(model, seed, whole=False), seed)


@pytest.mark.parametrize("seed", range(3))
def test_same_bytes_again(graphs: ModuleType, seed: int) -> None:
    model = graphs.random_model(seed, whole=False)
    plan, source = graphs.random_plan(model, seed, whole=False), model.SerializeToString()
    assert remove(source, onnx.load_from_string(source), plan) == remove(source, onnx.load_from_string(source), plan)
