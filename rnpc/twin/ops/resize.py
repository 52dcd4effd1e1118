"""Resampling. An image is resized one axis after the other, each by a matrix [out, in] of weights.

The matrices follow the text of the operator: an output place maps to an input coordinate, and the filter (nearest, linear, cubic) spreads
it over input places, those beyond the edge counting as the edge.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from rnpc.twin.node import Node, Run, Unhandled, operator

COORDINATES: dict[str, Callable[[np.ndarray, int, int, float], np.ndarray]] = {
    "half_pixel": lambda at, size, out, scale: (at + 0.5) / scale - 0.5,
    "pytorch_half_pixel": lambda at, size, out, scale: (at + 0.5) / scale - 0.5 if out > 1 else at * 0.0,
    "half_pixel_symmetric": lambda at, size, out, scale: (size / 2) * (1 - out / (scale * size)) + (at + 0.5) / scale - 0.5,
    "align_corners": lambda at, size, out, scale: at * ((size - 1) / (out - 1) if out > 1 else 0.0),
    "asymmetric": lambda at, size, out, scale: at / scale,
}
NEAREST: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "round_prefer_floor": lambda at: np.ceil(at - 0.5),
    "round_prefer_ceil": lambda at: np.floor(at + 0.5),
    "floor": np.floor,
    "ceil": np.ceil,
}


@dataclass(frozen=True)
class Resampling:
    """How coordinates and weights are made."""

    mode: str
    coordinates: str
    nearest: str = "round_prefer_floor"
    cubic: float = -0.75
    exclude: bool = False

    def matrix(self, size: int, out: int, scale: float) -> np.ndarray:
        """Weights [out, size], float32."""
        at = COORDINATES[self.coordinates](np.arange(out, dtype=np.float64), size, out, scale)
        if self.mode == "nearest":
            places: np.ndarray = np.clip(NEAREST[self.nearest](at), 0, size - 1).astype(int)
            rows: np.ndarray = np.eye(size, dtype=np.float32)[places]
            return rows
        reach = 1 if self.mode == "linear" else 2
        base, spread = np.floor(at), np.zeros((out, size))
        for offset in range(1 - reach, reach + 1):
            place = base + offset
            weight = self._weight(np.abs(at - place))
            if self.exclude:
                weight = np.where((place < 0) | (place >= size), 0.0, weight)
            np.add.at(spread, (np.arange(out), np.clip(place, 0, size - 1).astype(int)), weight)
        weights: np.ndarray = (spread / spread.sum(1, keepdims=True)).astype(np.float32)
        return weights

    def _weight(self, far: np.ndarray) -> np.ndarray:
        if self.mode == "linear":
            return np.maximum(0.0, 1.0 - far)
        a = self.cubic
        near = (a + 2) * far**3 - (a + 3) * far**2 + 1
        return np.where(far <= 1, near, a * far**3 - 5 * a * far**2 + 8 * a * far - 4 * a)


@operator("Resize", 11, 19)
def resize(node: Node) -> Run:
    """To given sizes or by given scales"""
    coordinates = node.get("coordinate_transformation_mode", "half_pixel")
    if coordinates not in COORDINATES or node.get("antialias", 0):
        raise Unhandled(f"with {coordinates} and antialias {node.get('antialias', 0)}")
    if node.get("keep_aspect_ratio_policy", "stretch") != "stretch":
        raise Unhandled("keeping the aspect ratio")
    cubic, exclude = float(node.get("cubic_coeff_a", -0.75)), bool(node.get("exclude_outside", 0))
    how = Resampling(node.get("mode", "nearest"), coordinates, node.get("nearest_mode", "round_prefer_floor"), cubic, exclude)
    axes = node.get("axes")

    def run(x: Tensor, roi: Tensor | None = None, scales: Tensor | None = None, sizes: Tensor | None = None) -> Tensor:
        over = list(range(x.dim())) if axes is None else axes
        if sizes is not None and sizes.numel():
            wanted = [int(s) for s in sizes.tolist()]
            factors = [s / x.shape[a] for s, a in zip(wanted, over, strict=True)]
        else:
            factors = _factors(scales)
            wanted = [int(x.shape[a] * f) for f, a in zip(factors, over, strict=True)]
        return _resample(x, how, over, wanted, factors)

    return run


@operator("Upsample", 7, 9)
@operator("Resize", 10, 10)
def upsample(node: Node) -> Run:
    """By given scales, an attribute or an input; a place maps to place / scale"""
    how = Resampling(node.get("mode", "nearest"), "asymmetric", "floor")
    attribute = node.get("scales")

    def run(x: Tensor, scales: Tensor | None = None) -> Tensor:
        factors = attribute or _factors(scales)
        return _resample(x, how, list(range(x.dim())), [int(s * f) for s, f in zip(x.shape, factors, strict=True)], factors)

    return run


def _factors(scales: Tensor | None) -> list[float]:
    return [] if scales is None else [float(f) for f in scales.tolist()]


def _resample(x: Tensor, how: Resampling, axes: list[int], sizes: list[int], factors: list[float]) -> Tensor:
    for axis, out, factor in zip(axes, sizes, factors, strict=True):
        if out != x.shape[axis] or factor != 1.0:
            weights = torch.from_numpy(how.matrix(x.shape[axis], out, factor)).to(x)
            x = torch.tensordot(x, weights, dims=([axis], [1])).movedim(-1, axis)
    return x


@operator("GridSample", 16, 22)
def grid_sample(node: Node) -> Run:
    """The image at the places of a grid"""
    mode = {"linear": "bilinear", "cubic": "bicubic"}.get(node.get("mode", "linear"), node.get("mode", "linear"))
    padding, corners = node.get("padding_mode", "zeros"), bool(node.get("align_corners", 0))
    return lambda x, grid: F.grid_sample(x, grid, mode, padding, corners)
