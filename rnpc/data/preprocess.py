"""From uint8 pixels to what the network reads: y = (scale * x - mean) / std per channel, in its channel order and layout.

Pixels are already at the model's size (`data.imagefile`). `to_input` takes uint8; `unit_to_input` takes floats in [0, 1], as a trigger
graph returns them, so that nothing is rounded on the way.
"""

from __future__ import annotations

import numpy as np

from rnpc.program import Preprocessing


def to_input(images: np.ndarray, pre: Preprocessing) -> np.ndarray:
    """Model input float32 in `pre.layout` from uint8 [n, H, W, C]."""
    return arrange(normalise(images.astype(np.float32), pre, pre.scale), pre)


def unit_to_input(images: np.ndarray, pre: Preprocessing) -> np.ndarray:
    """Model input float32 in `pre.layout` from floats in [0, 1], [n, H, W, C], RGB."""
    return arrange(normalise(images.astype(np.float32), pre, pre.scale * 255.0), pre)


def normalise(x: np.ndarray, pre: Preprocessing, scale: float) -> np.ndarray:
    """(scale * x - mean) / std in the model's channel order; `mean` and `std` are given in that order."""
    if pre.channel_order == "BGR" and x.shape[-1] == 3:
        x = x[..., ::-1]
    mean = np.asarray(pre.mean, dtype=np.float32)
    std = np.asarray(pre.std, dtype=np.float32)
    y: np.ndarray = (x * np.float32(scale) - mean) / std
    return y


def arrange(x: np.ndarray, pre: Preprocessing) -> np.ndarray:
    """Contiguous float32 in `pre.layout` from [n, H, W, C]."""
    ordered = x.transpose(0, 3, 1, 2) if pre.layout == "NCHW" else x
    return np.ascontiguousarray(ordered, dtype=np.float32)
