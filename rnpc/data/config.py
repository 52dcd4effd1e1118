"""Preprocessing as files and metadata state it: Hugging Face's preprocessor_config.json, timm's config.json, ONNX metadata, flags.

Each reader returns a `Stated`: only the fields that the source names, so that a later source may fill the rest. Sources of the formats:
transformers' `BaseImageProcessor` (resample is Pillow's number), timm's `pretrained_cfg`, and ONNX's MetadataProps.md
(`Image.BitmapPixelFormat`, `Image.NominalPixelRange`).
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal

from rnpc.errors import InputRefused

Resample = Literal["nearest", "bilinear", "bicubic", "lanczos"]
PILLOW: dict[int, Resample] = {0: "nearest", 1: "lanczos", 2: "bilinear", 3: "bicubic"}
NAMES: tuple[Resample, ...] = ("nearest", "bilinear", "bicubic", "lanczos")


@dataclass(frozen=True)
class Stated:
    """What one source says; None where it says nothing. Sizes in pixels, mean and std in units of the scaled image."""

    height: int | None = None
    width: int | None = None
    layout: Literal["NCHW", "NHWC"] | None = None
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    scale: float | None = None
    channel_order: Literal["RGB", "BGR"] | None = None
    resample: Resample | None = None
    shortest_edge: int | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """Fields that are stated."""
        return tuple(f.name for f in fields(self) if getattr(self, f.name) is not None)

    @property
    def normalises(self) -> bool:
        """Whether it settles the values of pixels, not only their number."""
        return self.mean is not None or self.std is not None or self.scale is not None


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object. Raises InputRefused."""
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputRefused(f"cannot be read as JSON ({error})", where=str(path), todo="repair or remove it") from error
    if not isinstance(raw, dict):
        raise InputRefused("holds no JSON object", where=str(path), todo="repair or remove it")
    return raw


def read_file(path: Path) -> Stated:
    """Either format, told apart by its keys. Raises InputRefused on values that cannot be meant."""
    return from_dict(read_json(path), str(path))


def from_dict(raw: Mapping[str, Any], where: str) -> Stated:
    """Either format, told apart by its keys."""
    try:
        inner = raw.get("pretrained_cfg")
        timm = inner if isinstance(inner, dict) else raw
        stated = from_timm(timm) if "mean" in timm or "input_size" in timm else from_hugging_face(raw)
        check(stated)
        return stated
    except (ValueError, TypeError, KeyError, IndexError, AttributeError) as error:
        todo = "repair it, or say --mean, --std and --size"
        raise InputRefused(f"its preprocessing is not understood ({error})", where=where, todo=todo) from error


def check(stated: Stated) -> None:
    """Raises ValueError on numbers no network was trained with."""
    for name in ("mean", "std"):
        values = getattr(stated, name) or ()
        if not all(math.isfinite(v) for v in values):
            raise ValueError(f"{name} {values} is not finite")
    if any(v <= 0 for v in stated.std or ()):
        raise ValueError(f"std {stated.std} is not positive")
    if stated.scale is not None and not 0 < stated.scale < math.inf:
        raise ValueError(f"scale {stated.scale} is not positive")
    sizes = [s for s in (stated.height, stated.width, stated.shortest_edge) if s is not None]
    if any(s < 1 for s in sizes):
        raise ValueError(f"a size of {min(sizes)} pixels")


def from_hugging_face(raw: Mapping[str, Any]) -> Stated:
    """preprocessor_config.json of transformers."""
    height, width, edge = hugging_face_size(raw)
    normalised = raw.get("do_normalize", "image_mean" in raw)
    rescaled = raw.get("do_rescale", "rescale_factor" in raw or normalised)
    says_pixels = any(key in raw for key in ("do_normalize", "do_rescale", "image_mean", "rescale_factor"))
    return Stated(
        height=height,
        width=width,
        shortest_edge=edge,
        mean=numbers(raw["image_mean"]) if normalised else ((0.0,) if says_pixels else None),
        std=numbers(raw["image_std"]) if normalised else ((1.0,) if says_pixels else None),
        scale=(float(raw.get("rescale_factor", 1 / 255)) if rescaled else 1.0) if says_pixels else None,
        channel_order="BGR" if raw.get("do_flip_channel_order") else None,
        resample=PILLOW[int(raw["resample"])] if raw.get("resample") is not None else None,
    )


def hugging_face_size(raw: Mapping[str, Any]) -> tuple[int | None, int | None, int | None]:
    """Height, width and shortest edge from `size` and `crop_size`."""
    size, crop = pair(raw.get("size")), pair(raw.get("crop_size"))
    resized, cropped = raw.get("do_resize", size is not None), raw.get("do_center_crop", crop is not None)
    edge = raw["size"]["shortest_edge"] if isinstance(raw.get("size"), dict) and "shortest_edge" in raw["size"] else None
    if isinstance(raw.get("size"), int) and cropped:
        edge = raw["size"]
    if edge is not None and raw.get("crop_pct") and not cropped:
        # ConvNeXt's processor: below 384 pixels the edge is divided by crop_pct, then the centre is cut out.
        side = int(edge)
        return (side, side, int(side / float(raw["crop_pct"]))) if side < 384 else (side, side, None)
    if edge is not None:
        height, width = crop if cropped and crop else (int(edge), int(edge))
        return height, width, int(edge)
    if resized and cropped and size and crop and size != crop:
        raise ValueError(f"resizing to {size} and then cutting out {crop}")
    exact = size if resized and size else crop if cropped else None
    return (*exact, None) if exact else (None, None, None)


def pair(size: Any) -> tuple[int, int] | None:
    """(height, width) of a size given as a number or a mapping; None for a mapping by shortest edge."""
    if isinstance(size, int):
        return size, size
    if isinstance(size, Mapping) and "height" in size:
        return int(size["height"]), int(size["width"])
    return None


def from_timm(raw: Mapping[str, Any]) -> Stated:
    """timm's pretrained_cfg: input_size [C, H, W], interpolation, crop_pct, mean and std in [0, 1]."""
    height: int | None = int(raw["input_size"][1]) if "input_size" in raw else None
    width: int | None = int(raw["input_size"][2]) if "input_size" in raw else None
    crop, mode = float(raw.get("crop_pct") or 1.0), raw.get("crop_mode", "center")
    edge: int | None = None
    if height is not None and height == width and mode == "center":
        edge = math.floor(height / crop)
    elif height is not None and crop != 1.0:
        raise ValueError(f"crop_mode {mode} with crop_pct {crop}")
    return Stated(
        height=height,
        width=width,
        shortest_edge=edge,
        mean=numbers(raw["mean"]) if "mean" in raw else None,
        std=numbers(raw["std"]) if "std" in raw else None,
        scale=1 / 255 if "mean" in raw else None,
        resample=next((name for name in NAMES if name == raw.get("interpolation")), None),
    )


def numbers(value: Any) -> tuple[float, ...]:
    """A number or a list of numbers; text such as "0.5, 0.5, 0.5" or "[0.5]" too, as metadata holds it."""
    if isinstance(value, str):
        value = [part for part in value.strip(" []()").replace(",", " ").split() if part]
    if isinstance(value, int | float):
        value = [value]
    parsed = tuple(float(v) for v in value)
    if not parsed:
        raise ValueError("an empty list of numbers")
    return parsed
