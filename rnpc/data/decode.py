"""From an image file to uint8 pixels at the model's size.

The shorter edge is resized to `shortest_edge` and the middle cut out where the preprocessing says so; otherwise the whole image is
resized. JPEG files are decoded no larger than needed. Transparency is laid on white, orientation tags are followed.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from rnpc.program import Preprocessing

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".webp", ".ppm", ".pgm", ".pnm", ".bmp", ".gif", ".tif", ".tiff"})
MODES = {1: "L", 3: "RGB", 4: "RGBA"}
FILTERS = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}


def read(file: Path, pre: Preprocessing, channels: int) -> np.ndarray | None:
    """uint8 [height, width, channels], or None where the file cannot be decoded as an image."""
    try:
        with Image.open(file) as image:
            edge = 2 * max(pre.height, pre.width, pre.shortest_edge or 0)
            image.draft(None, (edge, edge))
            return pixels(fit(convert(ImageOps.exif_transpose(image), channels), pre), channels)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError, EOFError):
        return None


def convert(image: Image.Image, channels: int) -> Image.Image:
    """The image in the colour mode of `channels` (1, 3 or 4)."""
    if image.mode in ("I;16", "I;16B", "I;16L", "I"):
        image = Image.fromarray((np.asarray(image).astype(np.int64) >> 8).clip(0, 255).astype(np.uint8))
    if channels != 4 and (image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info):
        layer = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer)
    return image.convert(MODES[channels])


def fit(image: Image.Image, pre: Preprocessing) -> Image.Image:
    """The image at `pre`'s height and width."""
    if pre.shortest_edge is not None:
        scale = pre.shortest_edge / min(image.size)
        size = tuple(max(pre.shortest_edge, round(side * scale)) for side in image.size)
        image = resized(image, (size[0], size[1]), pre)
        left, top = (image.width - pre.width) // 2, (image.height - pre.height) // 2
        return image.crop((left, top, left + pre.width, top + pre.height))
    return resized(image, (pre.width, pre.height), pre)


def resized(image: Image.Image, size: tuple[int, int], pre: Preprocessing) -> Image.Image:
    """The image at (width, height), itself where it has that size."""
    return image if image.size == size else image.resize(size, FILTERS[pre.resample])


def pixels(image: Image.Image, channels: int) -> np.ndarray:
    """uint8 [height, width, channels]."""
    array = np.asarray(image, dtype=np.uint8)
    return array[..., None] if channels == 1 else array
