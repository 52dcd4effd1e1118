"""The least-distance program against a general solver, its lower bound, and what is done with labels that have no answer."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import minimize

from rnpc.detectors.triggers import latent


def general(rows: np.ndarray, bounds: np.ndarray) -> float:
    """min |s| subject to rows @ s >= bounds, by sequential quadratic programming from a feasible start."""
    start = np.linalg.lstsq(rows, bounds + 1.0, rcond=None)[0]
    constraint = {"type": "ineq", "fun": lambda s: rows @ s - bounds, "jac": lambda s: rows}
    found = minimize(lambda s: s @ s, start, jac=lambda s: 2 * s, constraints=[constraint], method="SLSQP", options={"ftol": 1e-12})
    assert found.success
    return float(np.sqrt(found.fun))


@pytest.mark.parametrize("seed", range(20))
def test_least_distance_equals_a_general_solver(seed: int) -> None:
    rng = np.random.default_rng(seed)
    rows, bounds = rng.normal(size=(5, 8)), rng.normal(size=5) + 0.5
    assert latent.least_distance(rows, bounds) == pytest.approx(general(rows, bounds), rel=1e-5, abs=1e-6)


def test_least_distance_by_hand() -> None:
    assert latent.least_distance(np.array([[2.0, 0.0], [0.0, 1.0]]), np.array([6.0, 4.0])) == pytest.approx(5.0)
    assert latent.least_distance(np.eye(2), np.array([-1.0, -2.0])) == pytest.approx(0.0, abs=1e-9)
    assert latent.least_distance(np.array([[1.0], [-1.0]]), np.array([1.0, 1.0])) == np.inf


def test_a_single_constraint_is_a_lower_bound() -> None:
    rng = np.random.default_rng(3)
    logits, weight = rng.normal(size=(30, 6)), rng.normal(size=(6, 9))
    assert (latent.lower_bounds(latent.worst_margins(logits), weight) <= latent.shift_norms(logits, weight) + 1e-9).all()


def test_a_shortcut_has_the_smallest_norm() -> None:
    rng = np.random.default_rng(0)
    weight = np.eye(10, 12)
    weight[4, 11] = 8.0  # a direction that only label 4 listens to
    features = np.maximum(rng.normal(1, 0.1, (50, 12)), 0)
    features[:, 11] = 0
    norms = latent.shift_norms(features @ weight.T, weight)
    assert int(norms.argmin()) == 4 and latent.robust_z(norms)[4] < -3


def test_with_many_classes_only_the_cheapest_are_solved(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(latent, "MOST_PROGRAMS", 2)
    rng = np.random.default_rng(1)
    norms = latent.shift_norms(rng.normal(size=(20, 5)), rng.normal(size=(5, 7)))
    assert np.isfinite(norms).sum() == 2


def test_robust_z() -> None:
    z = latent.robust_z(np.array([1.0, 2.0, 3.0, 4.0, 5.0, np.inf]))
    assert z[:5] == pytest.approx(np.array([-2, -1, 0, 1, 2]) / 1.4826) and np.isnan(z[5])
    assert np.isfinite(latent.robust_z(np.ones(4))).all()
    assert np.isnan(latent.robust_z(np.full(3, np.inf))).all()
