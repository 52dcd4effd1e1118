"""npz archives: an array of images (`images`, `x` or `data`) and, beside it, labels (`labels`, `y` or `targets`).

Images are uint8, [n, H, W, C], [n, C, H, W] or [n, H, W]; other types have no agreed range and are refused. Arrays are read without pickle.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any
from zipfile import BadZipFile, ZipFile

import numpy as np
from PIL import Image

from rnpc.data import imagefile
from rnpc.errors import InputRefused
from rnpc.program import Preprocessing

IMAGE_KEYS = ("images", "x", "data")
LABEL_KEYS = ("labels", "y", "targets")


def size(path: Path) -> tuple[int, int] | None:
    """(height, width) of the images by the array's header, or None where the file holds none; no pixel is read."""
    try:
        with ZipFile(path) as file:
            keys = {name.removesuffix(".npy").lower(): name for name in file.namelist()}
            name = next((keys[key] for key in IMAGE_KEYS if key in keys), None)
            shape = () if name is None else header(file, name)
    except (OSError, ValueError, BadZipFile, EOFError, KeyError):
        return None
    if len(shape) == 3:
        return shape[1], shape[2]
    if len(shape) != 4:
        return None
    return (shape[1], shape[2]) if shape[3] in imagefile.MODES else (shape[2], shape[3]) if shape[1] in imagefile.MODES else None


def header(file: ZipFile, name: str) -> tuple[int, ...]:
    """Shape of an array in an npz archive. Raises ValueError where it is none."""
    with file.open(name) as stream:
        version: tuple[int, int] = np.lib.format.read_magic(stream)
        read: Any = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape: tuple[int, ...] = read(stream)[0]
    return shape


def read(path: Path, pre: Preprocessing, channels: int) -> tuple[np.ndarray, list[str] | None]:
    """Images uint8 [n, H, W, C] at `pre`'s size, and label names. Raises InputRefused."""
    try:
        with np.load(path, allow_pickle=False) as file:
            keys = {key.lower(): key for key in file.files}
            images = pick(file, keys, IMAGE_KEYS)
            labels = pick(file, keys, LABEL_KEYS)
    except (OSError, ValueError, BadZipFile, EOFError) as error:
        raise InputRefused(f"cannot be read as npz ({error})", where=str(path), todo="save it with numpy.savez, without objects") from error
    if images is None:
        raise InputRefused(f"no array of images among {', '.join(keys) or 'nothing'}", where=str(path), todo="name it images or x")
    images = to_nhwc(images, path)
    if len(images) == 0:
        raise InputRefused("the archive holds no images", where=str(path), todo="give at least a few hundred")
    if labels is not None and labels.shape != (len(images),):
        raise InputRefused(f"labels {labels.shape} do not fit {len(images)} images", where=str(path), todo="one label an image")
    return fit(images, pre, channels), None if labels is None else label_names(labels, path)


def pick(file: np.lib.npyio.NpzFile, keys: dict[str, str], wanted: tuple[str, ...]) -> np.ndarray | None:
    """The first array with one of the names."""
    return next((np.asarray(file[keys[key]]) for key in wanted if key in keys), None)


def to_nhwc(images: np.ndarray, path: Path) -> np.ndarray:
    """uint8 [n, H, W, C]; the axis of 1, 3 or 4 is the channels', the last one where both fit."""
    if images.dtype != np.uint8:
        raise InputRefused(f"images are {images.dtype}, expected uint8", where=str(path), todo="store pixels as uint8 in 0..255")
    if images.ndim == 3:
        return images[..., None]
    if images.ndim == 4 and images.shape[3] in imagefile.MODES:
        return images
    if images.ndim == 4 and images.shape[1] in imagefile.MODES:
        return np.ascontiguousarray(images.transpose(0, 2, 3, 1))
    raise InputRefused(f"images of shape {images.shape}", where=str(path), todo="store [n, H, W, C] or [n, C, H, W]")


def label_names(labels: np.ndarray, path: Path) -> list[str]:
    """Labels as names; integers become their decimal digits."""
    if labels.dtype.kind not in "iuU":
        raise InputRefused(f"labels are {labels.dtype}, expected integers or text", where=str(path), todo="store class numbers or names")
    return [str(label) for label in labels.tolist()]


def fit(images: np.ndarray, pre: Preprocessing, channels: int) -> np.ndarray:
    """Resize and convert where needed."""
    if images.shape[1:] == (pre.height, pre.width, channels) and pre.shortest_edge in (None, pre.height):
        return images
    squeezed = images[..., 0] if images.shape[3] == 1 else images
    out = np.empty((len(images), pre.height, pre.width, channels), np.uint8)
    for row, image in enumerate(squeezed):
        out[row] = imagefile.pixels(imagefile.fit(imagefile.convert(Image.fromarray(image), channels), pre), channels)
    return out
