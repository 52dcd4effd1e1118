"""`--method rnp-paper`: Reconstructive Neuron Pruning with its published settings, nothing added.

The paper's text first, the authors' code where the text is silent: SGD with momentum 0.9 and batches of 128; unlearning at rate 0.01,
weight decay 5e-2, decayed tenfold at epochs 10 and 20, at most 20 epochs, until training accuracy is at chance; recovery of masks at
rate 0.2 for 20 epochs on 0.2 times the loss, clamped to [0, 1]; random crops (padding 4) and flips; BatchNorm in train mode. Filters
whose mask is below 0.7 (the threshold of the paper's table 8) get BatchNorm weight zero and keep its bias. All defense images are learnt
on; no verdict is given.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from rnpc.method import rnp
from rnpc.method.blind import Request
from rnpc.method.decision import Decision, Evidence
from rnpc.method.rank import Channel
from rnpc.method.subject import Split, Subject, pixels, prepare
from rnpc.program import Finding

THRESHOLD = 0.7
EPOCHS = 20


def decide(request: Request) -> Decision:
    """Unlearn, recover, cut what lies below the threshold. The verdict is None: the paper gives none."""
    request.tell("twin", None, None)
    subject = everything(request)
    steps = max(1, -(-len(subject.learn) // 128))
    schedule = rnp.Schedule(
        unlearn_steps=EPOCHS * steps, recover_steps=EPOCHS * steps, batch=128, decay=5e-2,
        decay_at=(10 * steps, 20 * steps), stop=1.0 / subject.classes, epoch=steps,
    )  # fmt: skip
    twin, sites = rnp.masked_twin(subject, request.program.model)
    betas = {site.value: twin.parameter_of(site.bias).detach().clone() for site in sites if site.bias is not None}
    request.tell("unlearn", None, None)
    course = rnp.unlearn(subject, twin, schedule, request.seed, augment)
    request.tell("recover", None, course[-1].accuracy)
    masks = rnp.recover(subject, twin, sites, schedule, request.seed, augment)
    known = {site.value for site in request.program.sites}
    order = [
        Channel(name, int(c), float(mask[c]), float(betas[name][c]))
        for name, mask in masks.items() if name in known
        for c in range(len(mask))
    ]  # fmt: skip
    ranking = tuple(sorted(order, key=lambda channel: channel.score))
    cut = spare_whole_sites([c for c in ranking if c.score < THRESHOLD], {name: len(mask) for name, mask in masks.items()})
    votes = course[-1].votes
    nothing = np.full(subject.classes, np.nan)
    evidence = Evidence(norms=nothing, z=nothing, votes=votes, course=tuple(course), masks=masks)
    label = int(votes.argmax())
    return Decision(
        Finding(None, ((label, float(votes[label])),)), tuple(cut), ranking, np.arange(len(request.images)), evidence, THRESHOLD
    )


def everything(request: Request) -> Subject:
    """A subject that learns on all images: the paper holds nothing back."""
    subject = prepare(
        request.program, request.images, request.labels, seed=request.seed, max_ca_drop=1.0, device=request.device, pre=request.pre
    )
    whole = Split(pixels(request.images).to(subject.device), torch.from_numpy(request.labels).to(subject.device))
    return replace(subject, learn=whole, judge=whole, fast=False)


def spare_whole_sites(cut: list[Channel], sizes: dict[str, int]) -> list[Channel]:
    """`cut` without the last channel of a site that would lose all of them: a layer is never pruned to nothing."""
    left, kept = dict(sizes), []
    for channel in cut:
        if left[channel.site] > 1:
            left[channel.site] -= 1
            kept.append(channel)
    return kept


def augment(images: Tensor, generator: torch.Generator) -> Tensor:
    """Random crop with a padding of 4 pixels, and a random flip of the whole image, image by image."""
    height, width = images.shape[2:]
    padded = F.pad(images, (4, 4, 4, 4))
    offsets = torch.randint(9, (len(images), 2), generator=generator).tolist()
    flips = torch.rand(len(images), generator=generator) < 0.5
    crops = [padded[i, :, y : y + height, x : x + width] for i, (y, x) in enumerate(offsets)]
    return torch.stack([crop.flip(2) if flip else crop for crop, flip in zip(crops, flips.tolist(), strict=True)])
