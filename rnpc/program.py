"""Program: the user's model as it came, with what was inferred about it.

A `Program` never changes the user's graph: `source` holds the file's bytes and `model` the parsed view of them. A `FilterSite` is a
value of the graph one channel of which can be silenced exactly; it is named by that value, so the name is the same in the user's
graph and in every twin made of it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import onnx

Layout = Literal["NCHW", "NHWC"]
SiteKind = Literal["conv", "bn", "linear"]
SEEDS = range(2**32)  # what every generator takes


@dataclass(frozen=True)
class Signature:
    """The one image input and the one score output of a classifier. `batch` is None where it is dynamic; sizes are in pixels."""

    input: str
    output: str
    dtype: str
    layout: Layout
    channels: int
    height: int | None
    width: int | None
    batch: int | None
    classes: int


@dataclass(frozen=True)
class Preprocessing:
    """How uint8 images become the model's input: resize, scale by `scale`, subtract `mean`, divide by `std`.

    `mean` and `std` are per channel, in units of the scaled image (scale 1/255 gives [0, 1]). `sources` says for each field where
    its value comes from (flag, preprocessor_config.json, metadata, probe, input shape, default).
    """

    height: int
    width: int
    layout: Layout = "NCHW"
    mean: tuple[float, ...] = (0.0, 0.0, 0.0)
    std: tuple[float, ...] = (1.0, 1.0, 1.0)
    scale: float = 1.0 / 255.0
    channel_order: Literal["RGB", "BGR"] = "RGB"
    resample: Literal["nearest", "bilinear", "bicubic", "lanczos"] = "bilinear"
    shortest_edge: int | None = None
    sources: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Codes:
    """Whole numbers q from `low` to `high`, each of which stands for scale[c] (q - zero[c]); an entry for each channel c."""

    scale: tuple[float, ...]
    zero: tuple[int, ...]
    low: int
    high: int

    def code(self, channel: int, value: float) -> int:
        """The code nearest to a value, halves to even, within the range."""
        steps = np.rint(np.float64(value) / self.scale[channel]) + self.zero[channel]
        return int(min(max(steps, self.low), self.high))

    def real(self, channel: int, code: int) -> float:
        """What a code stands for: a product in float32, as runtimes compute it."""
        return float(np.float32(code - self.zero[channel]) * np.float32(self.scale[channel]))


@dataclass(frozen=True)
class FilterSite:
    """A value whose channel c can be set to a constant by writing a few tensor entries.

    `value`: the value's name (unique in the graph, also the site's name). `node`: index of the producer in graph.node. `op_type`: its
    operator. `axis`: the channel axis of the value. `weight`, `weight_axis`: tensor whose slice c along that axis becomes zero (the
    BatchNorm scale, the filter). `bias`: tensor whose entry c becomes the constant; None where the node has none. `codes`: what that entry
    can say where it is a code of a quantised graph.
    """

    value: str
    node: int
    op_type: str
    kind: SiteKind
    axis: int
    channels: int
    weight: str
    weight_axis: int
    bias: str | None
    codes: Codes | None = None

    def held(self, channel: int, value: float) -> float:
        """The constant that the file will hold: `value`, or the nearest that a quantised bias can say."""
        return value if self.codes is None else self.codes.real(channel, self.codes.code(channel, value))


Masks = dict[str, np.ndarray]
"""Site -> float32 array [channels] in [0, 1]; 1 keeps a channel."""


@dataclass(frozen=True)
class Finding:
    """The verdict, the accused labels (index, share of evidence), and the evidence in words. `confidence`: p-value, the share of sound
    models that stand out as much; None where it was not measured."""

    verdict: Literal["backdoored", "clean", "inconclusive"] | None
    labels: tuple[tuple[int, float], ...] = ()
    confidence: float | None = None
    reasons: tuple[str, ...] = ()


@dataclass(frozen=True)
class Program:
    """A model under study. `source` are the bytes that outputs are made from; `model` is their parsed view, external data loaded."""

    name: str
    source: bytes
    model: onnx.ModelProto
    sha256: str
    signature: Signature
    sites: tuple[FilterSite, ...]
    labels: tuple[str, ...] | None = None
    preprocessing: Preprocessing | None = None
    notes: tuple[str, ...] = field(default=())

    @property
    def channels(self) -> int:
        """Channels over all sites."""
        return sum(s.channels for s in self.sites)
