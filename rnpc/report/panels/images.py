"""Pictures side by side: an image, and right of it what was added to it, as PNG data URIs."""

from __future__ import annotations

import base64
import io

import numpy as np
from markupsafe import Markup
from PIL import Image

from rnpc.panel import Images, Picture
from rnpc.report.panels.absent import absent

MOST = 24
SMALL = 96
"""Pictures up to this width show their pixels as squares."""


def draw(panel: Images) -> Markup:
    """The pictures, large ones and `minor` ones, in their order."""
    if not panel.pictures:
        return absent("There is no picture.")
    shown = Markup("\n").join(one(picture) for picture in panel.pictures[:MOST])
    grid = Markup('<div class="pictures">\n{}\n</div>').format(shown)
    if len(panel.pictures) <= MOST:
        return grid
    return grid + Markup('<p class="caption">The first {} of {} pictures.</p>').format(MOST, len(panel.pictures))


def one(picture: Picture) -> Markup:
    """A picture, what was added to it, and words below."""
    sides = [element(picture.image, f"Image: {picture.words}")]
    if picture.delta is not None:
        sides.append(element(delta_picture(picture.delta), f"What was added, grey is nothing: {picture.words}"))
    kind = " ".join(["picture", *["minor"] * picture.minor, *["single"] * (picture.delta is None)])
    lines = Markup("<br>").join(picture.words.split("\n"))
    return Markup('<div class="{}"><div class="pair">{}</div><p>{}</p></div>').format(kind, Markup("").join(sides), lines)


def element(image: np.ndarray, alt: str) -> Markup:
    """An img element."""
    kind = Markup(' class="pixels"') if image.shape[-1] <= SMALL else Markup("")
    return Markup('<img{} src="{}" alt="{}">').format(kind, data_uri(image), " ".join(alt.split()))


def to_rgb(image: np.ndarray) -> np.ndarray:
    """Float [C, H, W] in [0, 1], C = 1 or 3 (others: mean over channels), to uint8 [H, W, 3]; values outside are clipped, nan becomes 0."""
    image = np.nan_to_num(np.asarray(image, dtype=np.float64))
    if image.shape[0] != 3:
        image = np.repeat(image.mean(axis=0, keepdims=True), 3, axis=0)
    pixels: np.ndarray = (np.clip(image, 0, 1) * 255 + 0.5).astype(np.uint8).transpose(1, 2, 0)
    return pixels


def delta_picture(delta: np.ndarray) -> np.ndarray:
    """A signed change [C, H, W] to [0, 1] around grey, stretched so that the largest change reaches black or white."""
    delta = np.nan_to_num(np.asarray(delta, dtype=np.float64))
    peak = float(np.max(np.abs(delta), initial=0.0))
    return 0.5 + delta / (2 * peak) if peak > 0 else np.full(delta.shape, 0.5)


def data_uri(image: np.ndarray) -> str:
    """Float [C, H, W] in [0, 1] as a PNG data URI; the same pixels give the same bytes."""
    file = io.BytesIO()
    Image.fromarray(to_rgb(image)).save(file, format="PNG", optimize=False, compress_level=9)
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()
