"""One image file to uint8 pixels at the model's size, as the field's loaders see it.

Order: decode, turn by the EXIF orientation, convert to the model's channels (alpha is dropped as `convert("RGB")` does in training
loaders, 16-bit grey is scaled to 8 bits), then resize. With `shortest_edge` the shorter side is resized to it and the centre is cut
out; without it the image is stretched to the model's size.
"""

from __future__ import annotations

from pathlib import Path
from typing import IO

import numpy as np
from PIL import Image, ImageOps

from rnpc.program import Preprocessing

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".webp", ".bmp", ".ppm", ".pgm", ".pnm", ".gif", ".tif", ".tiff"})
MODES = {1: "L", 3: "RGB", 4: "RGBA"}
FILTERS = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}


def read(file: Path | IO[bytes], pre: Preprocessing, channels: int) -> np.ndarray | None:
    """Pixels uint8 [H, W, C] of a file, by its path or opened, at `pre`'s size, or None where it cannot be decoded."""
    try:
        with Image.open(file) as image:
            image.load()
            turned = ImageOps.exif_transpose(image)
        return pixels(fit(convert(turned, channels), pre), channels)
    except MemoryError:
        raise
    except Exception:  # decoders of damaged files raise nearly anything: OSError, SyntaxError, struct.error, ...
        return None


def size(path: Path) -> tuple[int, int] | None:
    """(height, width) by the file's header, or None where it has none."""
    try:
        with Image.open(path) as image:
            return image.height, image.width
    except Exception:  # as in `read`
        return None


def convert(image: Image.Image, channels: int) -> Image.Image:
    """The image in mode L, RGB or RGBA. Raises ValueError for float images, whose range nothing tells."""
    if image.mode.startswith("I"):
        deep = np.asarray(image).astype(np.int64)
        image = Image.fromarray((np.clip(deep, 0, 65535) >> 8).astype(np.uint8))
    if image.mode == "F":
        raise ValueError("float images have no agreed range")
    if image.mode == "P" and "transparency" in image.info:
        image = image.convert("RGBA")
    mode = MODES[channels]
    return image if image.mode == mode else image.convert(mode)


def fit(image: Image.Image, pre: Preprocessing) -> Image.Image:
    """The image at `pre.height` x `pre.width`: stretched, or resized by its shortest edge and cut at the centre."""
    resample = FILTERS[pre.resample]
    if pre.shortest_edge is None:
        wanted = (pre.width, pre.height)
        return image if image.size == wanted else image.resize(wanted, resample)
    width, height = image.size
    short = min(width, height)
    # The longer side is cut to an integer and the corner rounded, as torchvision does it.
    grown = tuple(pre.shortest_edge if side == short else int(pre.shortest_edge * side / short) for side in (width, height))
    if image.size != grown:
        image = image.resize((grown[0], grown[1]), resample)
    left, top = round((grown[0] - pre.width) / 2), round((grown[1] - pre.height) / 2)
    return image.crop((left, top, left + pre.width, top + pre.height))


def pixels(image: Image.Image, channels: int) -> np.ndarray:
    """uint8 [H, W, C]."""
    array = np.asarray(image, dtype=np.uint8)
    return array.reshape(*array.shape[:2], channels)
