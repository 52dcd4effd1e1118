"""Subject: the model under study as every method sees it, in one canonical form, and the clean images that it is shown.

BatchNorm is folded into its convolution and the score tail is off, so that a network gives the same answer however it arrived (kept or
folded, with a Softmax or without, ONNX or torch). Sites keep the names that they have in the user's graph. Pixels are float [n, C, H, W] in
[0, 1], RGB; `normalise` takes them to the model's input.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace

import numpy as np
import torch
from onnx import ModelProto
from torch import Tensor

from rnpc.passes.canonical.canonical import canonical, kept
from rnpc.passes.facts.sites import find_sites
from rnpc.program import FilterSite, Preprocessing, Program
from rnpc.speed import precision
from rnpc.twin import Twin, build
from rnpc.twin.module import Edit

BATCH = 128
"""Images at once where nothing is learnt."""
AREA = 64 * 64
"""Pixels of an image up to which batches have their full size; beyond, they shrink as it grows, so that memory is bounded."""


@dataclass(frozen=True)
class Split:
    """Images and labels int64 [n]. `stored` are pixels [n, C, H, W], uint8 as they came or float in [0, 1]: uint8 takes a quarter of the
    memory, and what is worked on becomes float part by part."""

    stored: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def shape(self) -> torch.Size:
        """Channels, height, width."""
        return self.stored.shape[1:]

    def pixels(self, rows: Tensor | slice = slice(None)) -> Tensor:
        """Float32 pixels of these rows."""
        return as_float(self.stored[rows])

    def parts(self, size: int) -> Iterator[tuple[Tensor, Tensor]]:
        """(pixels, labels) of at most `size` images at a time."""
        for stored, labels in zip(self.stored.split(size), self.labels.split(size), strict=True):
            yield as_float(stored), labels

    def take(self, rows: Tensor) -> Split:
        """The images at `rows` (indices, or a mask)."""
        return Split(self.stored[rows], self.labels[rows])


@dataclass(frozen=True)
class Subject:
    """The canonical twin with its sites and its input transform. `model` is the graph that the twin was built from; `kept` the same with
    BatchNormalization where the user's graph has it, `original` the user's graph itself, for the names of its tensors; `fast`: bfloat16
    where the processor computes it natively."""

    twin: Twin
    model: ModelProto
    kept: ModelProto
    original: ModelProto
    sites: tuple[FilterSite, ...]
    pre: Preprocessing
    classes: int
    device: torch.device
    fast: bool

    def normalise(self, pixels: Tensor) -> Tensor:
        """Model input of pixels [n, C, H, W] in [0, 1], RGB."""
        if self.pre.channel_order == "BGR" and pixels.shape[1] == 3:
            pixels = pixels.flip(1)
        mean, std = (torch.tensor(v, device=pixels.device)[None, :, None, None] for v in (self.pre.mean, self.pre.std))
        x = (pixels * (self.pre.scale * 255.0) - mean) / std
        return x.permute(0, 2, 3, 1) if self.pre.layout == "NHWC" else x.contiguous(memory_format=torch.channels_last)

    def logits(self, pixels: Tensor, edits: Mapping[str, Edit] | None = None) -> Tensor:
        """Scores [n, K] of pixels, with gradients where asked for."""
        scores: Tensor = self.twin(self.normalise(pixels), edits)
        return scores

    def predict(self, data: Split, edits: Mapping[str, Edit] | None = None, change: Callable[[Tensor], Tensor] | None = None) -> Tensor:
        """Labels int64 [n] of images, changed by a trigger where one is given; without gradients."""
        return self.scores(data, edits, change).argmax(1)

    def scores(self, data: Split, edits: Mapping[str, Edit] | None = None, change: Callable[[Tensor], Tensor] | None = None) -> Tensor:
        """Scores float32 [n, K], without gradients."""
        with torch.no_grad(), self.precision():
            parts = (pixels if change is None else change(pixels) for pixels, _ in data.parts(self.at_once(BATCH)))
            return torch.cat([self.logits(pixels, edits).float() for pixels in parts])

    def accuracy(self, data: Split, edits: Mapping[str, Edit] | None = None) -> float:
        """Share of the images that are answered rightly."""
        return float((self.predict(data, edits) == data.labels).float().mean())

    def values(self, pixels: Tensor, names: Collection[str], edits: Mapping[str, Edit] | None = None) -> tuple[Tensor, dict[str, Tensor]]:
        """Scores and the named values of one batch, attached to the graph."""
        scores, kept = self.twin(self.normalise(pixels), edits, capture=names)
        return scores, kept

    def precision(self) -> AbstractContextManager[object]:
        """bfloat16 where the processor computes it natively; the proof of the twin and all reported numbers stay in float32."""
        return torch.autocast(self.device.type, torch.bfloat16) if self.fast else nullcontext()

    def exact(self) -> Subject:
        """The same in float32."""
        return replace(self, fast=False)

    def at_once(self, batch: int, least: int = 1) -> int:
        """How many images of this size a step takes where it would take `batch` small ones."""
        return max(min(least, batch), min(batch, round(batch * AREA / (self.pre.height * self.pre.width))))


def prepare(program: Program, pre: Preprocessing, device: str) -> Subject:
    """The subject made of a program. Raises the errors of `canonical` and `rnpc.twin.build`."""
    output = program.signature.output
    plain, model = kept(program.model, output), canonical(program.model, output)
    wanted = {site.value: site for site in program.sites}
    found = (site for site in find_sites(model) if site.value in wanted and site.channels == wanted[site.value].channels)
    sites = tuple(replace(site, codes=wanted[site.value].codes) for site in found)
    where = torch.device(device)
    twin = build(model).to(where)
    for parameter in twin.parameters():
        parameter.requires_grad_(False)
    return Subject(twin, model, plain, program.model, sites, pre, program.signature.classes, where, precision(where.type) == "bf16")


def stored(images: np.ndarray, device: torch.device | str = "cpu") -> Tensor:
    """uint8 [n, C, H, W] of uint8 images [n, H, W, C]; a copy where these cannot be written to, which torch would warn of."""
    return torch.from_numpy(np.require(images.transpose(0, 3, 1, 2), requirements=["C", "W"])).to(device)


def as_float(pixels: Tensor) -> Tensor:
    """Pixels in [0, 1]: uint8 divided by 255, floats as they are."""
    return pixels.float() / 255.0 if pixels.dtype == torch.uint8 else pixels
