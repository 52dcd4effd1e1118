"""Reads many small image files into one uint8 array."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from rnpc.errors import InputRefused

IMAGES = (".png", ".jpg", ".jpeg", ".webp", ".ppm", ".bmp")
"""Endings of the files that count as images, in lower case."""


def images(files: Sequence[Path], size: int) -> np.ndarray:
    """uint8 [n, size, size, 3] in RGB; other sizes are resized bilinearly. Raises InputRefused with the file that cannot be read."""
    out = np.empty((len(files), size, size, 3), np.uint8)
    for index, file in enumerate(files):
        try:
            with Image.open(file) as image:
                rgb = image.convert("RGB")
        except (OSError, UnidentifiedImageError) as error:
            raise InputRefused(f"not a readable image ({error})", where=str(file), todo="unpack the data set again") from error
        out[index] = np.asarray(rgb if rgb.size == (size, size) else rgb.resize((size, size), Image.Resampling.BILINEAR))
    return out


def listed(folder: Path) -> list[Path]:
    """The image files directly in a folder, sorted by name."""
    return sorted(f for f in folder.iterdir() if f.suffix.lower() in IMAGES)
