"""Reads many small image files of a data set into one uint8 array. Here a file that cannot be read is an error: the set is not whole."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from rnpc.data import imagefile
from rnpc.errors import InputRefused
from rnpc.program import Preprocessing

DECODERS = 2
AHEAD = 256
"""Files that are decoded at a time, so that no more than these lie beside the array."""


def images(files: Sequence[Path], pre: Preprocessing) -> np.ndarray:
    """uint8 [n, H, W, 3] in RGB at `pre`'s size. Raises InputRefused with the file that cannot be read."""
    out = np.empty((len(files), pre.height, pre.width, 3), np.uint8)
    with ThreadPoolExecutor(DECODERS) as pool:
        for first in range(0, len(files), AHEAD):
            part = files[first : first + AHEAD]
            for row, pixels in enumerate(pool.map(lambda file: imagefile.read(file, pre, 3), part), first):
                if pixels is None:
                    raise InputRefused("not a readable image", where=str(files[row]), todo="unpack the data set again")
                out[row] = pixels
    return out


def listed(folder: Path) -> list[Path]:
    """The image files directly in a folder, sorted by name."""
    return sorted(f for f in folder.iterdir() if is_image(f.name))


def is_image(name: str) -> bool:
    """Whether a file is an image, by its ending."""
    return Path(name).suffix.lower() in imagefile.SUFFIXES
