"""Which label does a backdoor speak? The smallest shift of the last features that sends every clean image there.

For label t: minimise |s|^2 subject to (w_t - w_k) . s >= max over images of (score_k - score_t) for all k != t, a least-distance
program with one row a class, solved through its non-negative least squares dual (Lawson and Hanson 1974, chapter 23). A backdoor is a
direction in feature space along which all images reach the target cheaply, so its norm stands out below the others (the idea: arXiv
2511.08944).

The norm proposes; it does not convict: some class always has the smallest one.
"""

from __future__ import annotations

import numpy as np
from scipy.optimize import nnls

MOST_PROGRAMS = 64


def shift_norms(logits: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Norm [K] of the smallest shift for each label; inf where none was computed.

    Args:
        logits: class scores of clean images, float [n, K].
        weight: the last layer's rows, float [K, d].

    With many classes only those are solved whose cheapest single constraint is smallest: that constraint is a lower bound of the norm.
    """
    worst = worst_margins(logits)
    bounds = lower_bounds(worst, weight)
    norms = np.full(len(weight), np.inf)
    for label in np.argsort(bounds, kind="stable")[:MOST_PROGRAMS]:
        others = np.arange(len(weight)) != label
        norms[label] = least_distance(weight[label] - weight[others], worst[label, others])
    return norms


def worst_margins(logits: np.ndarray) -> np.ndarray:
    """[t, k]: the largest lead of class k over class t among the images."""
    return np.stack([(logits - logits[:, [t]]).max(axis=0) for t in range(logits.shape[1])])


def lower_bounds(worst: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """[K]: the distance to the farthest single constraint of each label."""
    squares = (weight**2).sum(axis=1)
    gaps = np.sqrt(np.maximum(squares[:, None] + squares[None, :] - 2 * weight @ weight.T, 1e-12))
    return np.asarray((np.maximum(worst, 0) / gaps).max(axis=1))


def least_distance(rows: np.ndarray, bounds: np.ndarray) -> float:
    """min |s| subject to rows @ s >= bounds; inf where that is impossible."""
    target = np.zeros(rows.shape[1] + 1)
    target[-1] = 1.0
    try:
        dual, _ = nnls(np.vstack([rows.T, bounds[None]]), target, maxiter=50 * len(rows))
    except RuntimeError:  # no convergence
        return float("inf")
    residual = np.concatenate([rows.T @ dual, [bounds @ dual]]) - target
    return float(np.linalg.norm(residual[:-1]) / -residual[-1]) if residual[-1] < -1e-9 else float("inf")


def robust_z(values: np.ndarray) -> np.ndarray:
    """(value - median) / (1.4826 MAD) over the finite values; nan elsewhere."""
    finite = values[np.isfinite(values)]
    if len(finite) == 0:
        return np.full(len(values), np.nan)
    middle = np.median(finite)
    spread = 1.4826 * np.median(np.abs(finite - middle))
    z: np.ndarray = np.where(np.isfinite(values), (values - middle) / max(spread, 1e-12), np.nan)
    return z
