"""Preprocessing from what is stated, in this order: flags, files beside the model, the model's metadata, the frontend.

Pixel values (mean, std, scale, channel order) come as one group from the first source that states any of them; sizes and the way of
resizing likewise. The input's fixed shape outranks all: a source that contradicts it belongs to another model and is refused. What no
source states is left to `data.probe`. Every field carries its source.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from rnpc import files
from rnpc.data.config import Stated, from_dict, numbers, read_file, read_json
from rnpc.errors import InputRefused, UsageError
from rnpc.program import Preprocessing, Signature

PIXEL_UNITS = 2.0  # a mean or std above this is meant for pixels in 0..255


@dataclass(frozen=True)
class Flags:
    """What the command line says about preprocessing: a file, or single values."""

    preprocess: Path | None = None
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    size: tuple[int, int] | None = None
    layout: Literal["NCHW", "NHWC"] | None = None

    def __post_init__(self) -> None:
        for flag, values in (("--mean", self.mean), ("--std", self.std)):
            if not all(math.isfinite(value) for value in values or ()):
                raise UsageError(f"{said(values)} is not finite", where=flag, todo="give one number, or one a channel")
        if any(value <= 0 for value in self.std or ()):
            raise UsageError(f"{said(self.std)} is not above 0", where="--std", todo="give one number above 0, or one a channel")

    def stated(self) -> list[tuple[str, Stated]]:
        """As sources. Raises UsageError where a file and values are both given."""
        single = any(value is not None for value in (self.mean, self.std, self.size, self.layout))
        if self.preprocess is not None and single:
            raise UsageError("--preprocess comes with --mean, --std, --size or --layout", todo="give the file or the values")
        if self.preprocess is not None:
            if files.kind(self.preprocess) != "file":
                raise UsageError("no such file", where=str(self.preprocess), todo="give a preprocessor_config.json to --preprocess")
            return [(f"--preprocess {self.preprocess.name}", read_file(self.preprocess))]
        height, width = self.size or (None, None)
        values = Stated(height=height, width=width, layout=self.layout, mean=self.mean, std=self.std, scale=unit_of(self.mean, self.std))
        return [("flag", values)] if single else []


def unit_of(mean: Sequence[float] | None, std: Sequence[float] | None) -> float | None:
    """Scale that goes with bare mean and std: 1 where they are meant for 0..255, else 1/255."""
    values = [*(mean or ()), *(std or ())]
    if not values:
        return None
    return 1.0 if max(abs(v) for v in values) > PIXEL_UNITS else 1 / 255


def said(values: Sequence[float] | None) -> str:
    """Values as they were typed."""
    return ",".join(f"{value:g}" for value in values or ())


def stated(flags: Flags, folder: Path | None, metadata: Mapping[str, str], preset: Preprocessing | None) -> list[tuple[str, Stated]]:
    """All sources in order. Raises UsageError for half of mean and std as a flag where another source states the other half."""
    sources = flags.stated()
    if folder is not None:
        sources += beside(folder)
    from_meta = from_metadata(metadata)
    if from_meta.names:
        sources.append(("metadata", from_meta))
    if preset is not None:
        sources.append(("model", from_preset(preset)))
    check_halves(flags, sources)
    return sources


def check_halves(flags: Flags, sources: Sequence[tuple[str, Stated]]) -> None:
    """Raises UsageError where a flag gives mean or std alone and a file or the model the other, which would silently not count."""
    given, open_ = ("--mean", "std") if flags.std is None else ("--std", "mean")
    if (flags.mean is None) == (flags.std is None):
        return
    source = next((name for name, other in sources if name != "flag" and getattr(other, open_) is not None), None)
    if source is not None:
        raise UsageError(f"given alone, while {source} states the {open_}", where=given, todo="give --mean and --std together")


def beside(folder: Path) -> list[tuple[str, Stated]]:
    """preprocessor_config.json, then config.json, in the model's folder; a config.json may be about other things."""
    sources = []
    first = folder / "preprocessor_config.json"
    if files.kind(first) == "file":
        sources.append((first.name, read_file(first)))
    second = folder / "config.json"
    if files.kind(second) == "file":
        raw = read_json(second)
        inner = raw.get("pretrained_cfg", raw)
        if isinstance(inner, dict) and ("mean" in inner or "image_mean" in inner):
            sources.append((second.name, from_dict(raw, str(second))))
    return sources


def from_metadata(metadata: Mapping[str, str]) -> Stated:
    """Metadata of a model: mean and std under the usual names, and ONNX's own `Image.*` keys."""
    try:
        mean = next((numbers(metadata[key]) for key in ("image_mean", "mean") if key in metadata), None)
        std = next((numbers(metadata[key]) for key in ("image_std", "std") if key in metadata), None)
    except ValueError as error:
        raise InputRefused(f"mean or std is not understood ({error})", where="metadata", todo="say --mean and --std") from error
    stated = Stated(mean=mean, std=std, scale=unit_of(mean, std))
    range_ = {
        "NominalRange_0_255": Stated(scale=1.0),
        "Normalized_0_1": Stated(scale=1 / 255),
        "Normalized_1_1": Stated(scale=1 / 255, mean=(0.5,), std=(0.5,)),
    }.get(metadata.get("Image.NominalPixelRange", ""))
    if range_ is not None and not stated.normalises:
        stated = range_
    if metadata.get("Image.BitmapPixelFormat", "").lower().startswith("bgr"):
        stated = replace(stated, channel_order="BGR")
    return stated


def from_preset(pre: Preprocessing) -> Stated:
    """What a frontend knows about its architecture."""
    return Stated(pre.height, pre.width, pre.layout, pre.mean, pre.std, pre.scale, pre.channel_order, pre.resample, pre.shortest_edge)


def geometry(signature: Signature, sources: Sequence[tuple[str, Stated]], images: tuple[int, int] | None, where: str) -> Preprocessing:
    """Size, layout and resizing; pixel values are left at their defaults and have no source. `images`: the one size of all images, if any.

    Raises InputRefused where a source contradicts the input's shape, or where nothing gives a size.
    """
    height, width, size_source = size_of(signature, sources, images, where)
    for source, said in sources:
        if said.layout is not None and said.layout != signature.layout:
            raise InputRefused(f"{source} says {said.layout}, the input's shape {signature.layout}", where=where, todo="drop --layout")
    edge = next(((s.shortest_edge, name) for name, s in sources if s.height is not None or s.shortest_edge is not None), (None, "default"))
    resample = next(((s.resample, name) for name, s in sources if s.resample is not None), ("bilinear", "default"))
    how = (("size", size_source), ("layout", "input shape"), ("resample", resample[1]))
    crop = (("shortest_edge", edge[1]),) if edge[0] is not None else ()
    if edge[0] is not None and edge[0] < max(height, width):
        what = f"{edge[1]} resizes the short side to {edge[0]}, less than the input's {height}x{width}"
        raise InputRefused(what, where=where, todo="correct it")
    return Preprocessing(height, width, signature.layout, resample=resample[0], shortest_edge=edge[0], sources=how + crop)


def size_of(
    signature: Signature, sources: Sequence[tuple[str, Stated]], images: tuple[int, int] | None, where: str
) -> tuple[int, int, str]:
    """Height, width and their source."""
    fixed = (signature.height, signature.width)
    for source, said in sources:
        if said.height is None or said.width is None:
            continue
        clash = any(want is not None and want != have for want, have in zip(fixed, (said.height, said.width), strict=True))
        if clash:
            what = f"{source} says {said.height}x{said.width}, the input is {fixed[0]}x{fixed[1]}"
            raise InputRefused(what, where=where, todo="use the preprocessing of this model")
        return said.height, said.width, source if None in fixed else "input shape"
    if fixed[0] is not None and fixed[1] is not None:
        return fixed[0], fixed[1], "input shape"
    if images is None:
        raise InputRefused("the input's size is open and nothing says it", where=where, todo="give --size, such as --size 224")
    return fixed[0] or images[0], fixed[1] or images[1], "size of the images"


def pixels(pre: Preprocessing, signature: Signature, sources: Sequence[tuple[str, Stated]], where: str) -> Preprocessing | None:
    """`pre` with the pixel values of the first source that states them, or None where none does."""
    if "uint8" in signature.dtype.lower() and not any(said.normalises for _, said in sources):
        return with_pixels(pre, Stated(scale=1.0), "input type uint8", signature.channels, where)
    said = next(((s, name) for name, s in sources if s.normalises), None)
    if said is None:
        return None
    order = next((s.channel_order for _, s in sources if s.channel_order is not None), None)
    return with_pixels(pre, replace(said[0], channel_order=order), said[1], signature.channels, where)


def with_pixels(pre: Preprocessing, said: Stated, source: str, channels: int, where: str) -> Preprocessing:
    """`pre` with mean, std, scale and channel order of `said`; what it leaves out is neutral."""
    mean = spread(said.mean or (0.0,), channels, f"mean of {source}", where)
    std = spread(said.std or (1.0,), channels, f"std of {source}", where)
    scale = 1 / 255 if said.scale is None else said.scale
    order = said.channel_order or "RGB"
    names = tuple((name, source) for name in ("mean", "std", "scale", "channel_order"))
    return replace(pre, mean=mean, std=std, scale=scale, channel_order=order, sources=pre.sources + names)


def spread(values: tuple[float, ...], channels: int, name: str, where: str) -> tuple[float, ...]:
    """One value a channel."""
    if len(values) not in (1, channels):
        raise InputRefused(f"{name} has {len(values)} values for {channels} channels", where=where, todo=f"give 1 or {channels}")
    return values * channels if len(values) == 1 else values
