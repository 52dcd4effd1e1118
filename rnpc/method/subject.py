"""Subject: the model under study as the method sees it, in one canonical form.

BatchNorm is folded into its convolution first, so that a network gives the same answer however it arrived (kept or folded, ONNX or torch).
Sites keep the names that they have in the user's graph. Pixels are float [n, C, H, W] in [0, 1], RGB; `normalise` takes them to the
model's input. Defense data is split once: triggers and rankings are learnt on one part, cuts are judged on the other.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from rnpc.errors import Inconclusive
from rnpc.passes.batchnorm import fold_bn
from rnpc.passes.sites import find_sites
from rnpc.program import FilterSite, Preprocessing, Program
from rnpc.speed import precision
from rnpc.stats import least_images
from rnpc.twin import Twin, build
from rnpc.twin.module import Edit

LEARN_SHARE = 0.3
LEAST_LEARN = 50
BATCH = 128


@dataclass(frozen=True)
class Split:
    """Pixels float32 [n, C, H, W] in [0, 1] and labels int64 [n]."""

    pixels: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)

    def without(self, label: int) -> Split:
        """The images of other classes."""
        keep = self.labels != label
        return Split(self.pixels[keep], self.labels[keep])

    def take(self, rows: Tensor) -> Split:
        """The images at `rows`."""
        return Split(self.pixels[rows], self.labels[rows])


@dataclass(frozen=True)
class Subject:
    """The canonical twin with its sites, its input transform and the two parts of the defense data."""

    twin: Twin
    sites: tuple[FilterSite, ...]
    pre: Preprocessing
    learn: Split
    judge: Split
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

    def predict(self, pixels: Tensor, edits: Mapping[str, Edit] | None = None) -> Tensor:
        """Labels int64 [n] of pixels, without gradients."""
        with torch.no_grad(), self.precision():
            return torch.cat([self.logits(part, edits).float().argmax(1) for part in pixels.split(BATCH)])

    def values(self, pixels: Tensor, names: Collection[str], edits: Mapping[str, Edit] | None = None) -> tuple[Tensor, dict[str, Tensor]]:
        """Scores and the named values of one batch, attached to the graph."""
        scores, kept = self.twin(self.normalise(pixels), edits, capture=names)
        return scores, kept

    def precision(self) -> AbstractContextManager[object]:
        """bfloat16 where the processor computes it natively; the proof of the twin and all reported numbers stay in float32."""
        return torch.autocast(self.device.type, torch.bfloat16) if self.fast else nullcontext()


def prepare(
    program: Program, images: np.ndarray, labels: np.ndarray, *, seed: int, max_ca_drop: float, device: str, pre: Preprocessing
) -> Subject:
    """Canonical twin and split of uint8 images [n, H, W, C] with labels int64 [n].

    Raises Inconclusive where the judged part could not prove the bound even without a single loss, or where all images are of one class.
    """
    model = fold_bn(program.model)
    wanted = {site.value: site for site in program.sites}
    sites = tuple(site for site in find_sites(model) if site.value in wanted and site.channels == wanted[site.value].channels)
    where = torch.device(device)
    twin = build(model).to(where)
    for parameter in twin.parameters():
        parameter.requires_grad_(False)
    learn, judge = split(images, labels, seed, max_ca_drop)
    if min(len(np.unique(labels[rows])) for rows in (learn, judge)) < 2:  # a trigger works on images of other classes than its label
        raise Inconclusive("the images are all of one class", where="defense data", todo="give images of several classes")
    parts = [Split(pixels(images[rows]).to(where), torch.from_numpy(labels[rows]).to(where)) for rows in (learn, judge)]
    return Subject(twin, sites, pre, parts[0], parts[1], program.signature.classes, where, precision(where.type) == "bf16")


def split(images: np.ndarray, labels: np.ndarray, seed: int, max_ca_drop: float) -> tuple[np.ndarray, np.ndarray]:
    """Rows to learn on and rows to judge on: 30 to 70, but never fewer judged images than the bound needs."""
    n, least = len(images), least_images(max_ca_drop)
    if n < least + LEAST_LEARN:
        todo = f"give at least {least + LEAST_LEARN} images, or a larger --max-ca-drop"
        what = f"{n} images cannot show that accuracy drops by at most {100 * max_ca_drop:.3g} %"
        raise Inconclusive(what, where="defense data", todo=todo)
    order = np.random.default_rng(seed).permutation(n)
    cut = min(max(LEAST_LEARN, round(LEARN_SHARE * n)), n - least)
    return np.sort(order[:cut]), np.sort(order[cut:])


def pixels(images: np.ndarray) -> Tensor:
    """Float [n, C, H, W] in [0, 1] of uint8 [n, H, W, C]."""
    return torch.from_numpy(np.ascontiguousarray(images.transpose(0, 3, 1, 2))).float() / 255.0
