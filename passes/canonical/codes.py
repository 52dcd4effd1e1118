"""Codes of quantised values: whole numbers q that stand for s (q - z), with a scale s and a zero point z.

Scales and zero points hold for a whole tensor, for each entry of one axis, or for blocks along one axis.
"""

from __future__ import annotations

from typing import Any

import numpy as np


def real(codes: np.ndarray, scale: np.ndarray, zero: np.ndarray | None = None, *, axis: int = 1, block: int = 0) -> np.ndarray:
    """scale (codes - zero) in the shape of `codes` and the type of `scale`; scales run along `axis`, for blocks of `block` entries."""
    value = codes.astype(np.float32)
    if zero is not None:
        value = value - along(zero.astype(np.float32), value.shape, axis, block)
    return np.asarray(value * along(scale.astype(np.float32), value.shape, axis, block)).astype(scale.dtype)


def code(value: np.ndarray, scale: np.ndarray, zero: np.ndarray, *, axis: int = 1, block: int = 0) -> np.ndarray:
    """value / scale rounded to the nearest (halves to even) plus zero, within the range of zero's integer type and in that type."""
    steps = np.rint(value.astype(np.float32) / along(scale.astype(np.float32), value.shape, axis, block))
    low, high = limits(zero.dtype)
    codes = steps + along(zero.astype(np.float32), value.shape, axis, block)
    return np.asarray(np.clip(codes, low, high)).astype(zero.dtype)


def along(values: np.ndarray, shape: tuple[int, ...], axis: int, block: int) -> np.ndarray:
    """Scales or zero points, shaped so that they meet the entries of a tensor that they belong to."""
    if block:
        rows = np.repeat(values, block, axis)
        return np.take(rows, range(shape[axis]), axis)
    if values.size == 1:
        return values.reshape(())
    return values.reshape([-1 if k == axis % len(shape) else 1 for k in range(len(shape))]) if values.ndim == 1 else values


def limits(dtype: np.dtype[Any]) -> tuple[int, int]:
    """Smallest and largest code of an integer type, those of 2 and 4 bits included. Raises ValueError for any other type."""
    name = np.dtype(dtype).name
    signed, bits = not name.startswith("u"), name.removeprefix("u").removeprefix("int")
    if not bits.isdigit() or not name.removeprefix("u").startswith("int"):
        raise ValueError(f"codes of type {name}")
    reach = 1 << (int(bits) - signed)
    return (-reach if signed else 0), reach - 1
