"""Small pictures as PNG data URIs: what a trigger adds, and an image that carries it."""

from __future__ import annotations

import base64
import io

import numpy as np
from PIL import Image


def to_rgb(image: np.ndarray) -> np.ndarray:
    """Float [C, H, W] in [0, 1], C = 1 or 3 (others: mean over channels), to uint8 [H, W, 3]; values outside are clipped, nan becomes 0."""
    image = np.nan_to_num(np.asarray(image, dtype=np.float64))
    if image.shape[0] != 3:
        image = np.repeat(image.mean(axis=0, keepdims=True), 3, axis=0)
    pixels: np.ndarray = (np.clip(image, 0, 1) * 255 + 0.5).astype(np.uint8).transpose(1, 2, 0)
    return pixels


def delta_picture(delta: np.ndarray) -> np.ndarray:
    """A signed change [C, H, W] to [0, 1] around grey, stretched so that the largest change reaches black or white."""
    peak = float(np.max(np.abs(np.nan_to_num(delta)), initial=0.0))
    return 0.5 + np.nan_to_num(delta) / (2 * peak) if peak > 0 else np.full(delta.shape, 0.5)


def data_uri(image: np.ndarray) -> str:
    """Float [C, H, W] in [0, 1] as a PNG data URI; the same pixels give the same bytes."""
    file = io.BytesIO()
    Image.fromarray(to_rgb(image)).save(file, format="PNG", optimize=False, compress_level=9)
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()
